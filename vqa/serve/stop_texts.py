"""Texts at which an answer stops, looked for as it is written."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Hands on what is written, up to the first of some texts.

    What may be the beginning of one is held back until more has been written.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._pending = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """Take what was written; return what is certain to stand before any of the texts."""
        if self.stopped:
            return ""
        text = self._pending + text
        places = [place for stop in self._texts if (place := text.find(stop)) >= 0]
        if places:
            self.stopped = True
            return text[: min(places)]
        held = max(
            (
                size
                for stop in self._texts
                for size in range(len(stop))
                if text.endswith(stop[:size])
            ),
            default=0,
        )
        self._pending = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """Return what was held back; nothing more will be written."""
        return "" if self.stopped else self._pending
