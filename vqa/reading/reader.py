"""An OCR engine in this process: pictures in, lines of text out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from vqa.errors import InputError, error_line
from vqa.inputs.hints import text_block
from vqa.reading.line_store import LineStore
from vqa.reading.text_lines import TextLine, reading_order
from vqa.utils import fingerprint
from vqa.utils.lru import LRUCache

if TYPE_CHECKING:
    from PIL.Image import Image

_READING_VERSION = 3  # part of what caches compare: raise it when pictures are read in another way
_SEARCHED = 1000 * 750  # pixels in which lines are searched; they are read at full size
_GLANCE = _SEARCHED // 4  # of the look whether there is any text: a quarter of that time
LARGEST_SIDE = 2000  # pixels of the longer side that are read
MOST_LINES = 400  # lines of a picture
_FEW = 6  # places of a glance that are read at once, which costs less than the search
_PLAUSIBLE = 0.5  # confidence of what is read there
_SURE = 0.75  # confidence of a line
_SURE_SHORT = 0.9  # of one or two characters, which textures resemble
_BLOCK = 1000  # characters that stand before a question: a receipt's, about 400 tokens
_NUMBER = 1.25  # how much more a line with a digit matters: a total, a date, a price
_CELLS = " | "  # between the pieces of a row
_CACHE_BYTES = 16 << 20
_BYTES = 400  # of a line in the cache, about
ReadMode = Literal["auto", "always", "never"]
_MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}


class TextReader:
    """Reads pictures with `rapidocr`; any thread may call it, one at a time reads.

    What a picture says is cached by its pixels, in memory and in a `store`: a second question about
    it costs nothing. The engine is loaded by the first picture.
    """

    def __init__(
        self,
        mode: ReadMode = "always",
        models: Path | None = None,
        store: LineStore | None = None,
    ) -> None:
        """Read with the models of the package, or with those of the same names in `models`.

        In mode "auto" a picture is searched only where a small copy of it shows text, whatever is
        asked: no list of words tells which question needs it, in any language. Raises InputError
        where the extra `read` is not installed.
        """
        package = importlib.util.find_spec("rapidocr")
        if package is None or package.origin is None:
            raise InputError("reading needs one more package: pip install 'vqa[read]'")
        self.mode = mode
        self.seconds = 0.0  # that it has read, the start of the engine included
        self._models = models or Path(package.origin).parent / "models"
        self._store = store
        self._reading = threading.Lock()
        self._caching = threading.Lock()  # apart: what is cached waits for no reading
        self._cache: LRUCache[tuple[TextLine, ...]] = LRUCache(_CACHE_BYTES)

    @cached_property
    def identity(self) -> str:
        """What the blocks depend on, apart from the pictures."""
        return f"{self.mode}/{importlib.metadata.version('rapidocr')}/{_READING_VERSION}"

    def read(self, picture: Image) -> tuple[TextLine, ...]:
        """Read the lines of a picture, in no order. At most `MOST_LINES`.

        Raises InputError where the engine's model files are missing or damaged.
        """
        key = f"{self.identity}/{fingerprint.of_image(picture)}"
        lines = self._cached(key)
        if lines is None:
            with self._reading:
                lines = self._cached(key)  # another thread may have read it meanwhile
                if lines is None:
                    began = perf_counter()
                    lines = self._read(picture)
                    self.seconds += perf_counter() - began
                    self._put(key, lines)
        return lines

    def _cached(self, key: str) -> tuple[TextLine, ...] | None:
        with self._caching:
            lines = self._cache.get(key)
            if lines is None and self._store is not None:
                lines = self._store.get(key)
                if lines is not None:
                    self._cache.put(key, lines, _BYTES * (1 + len(lines)))
        return lines

    def _put(self, key: str, lines: tuple[TextLine, ...]) -> None:
        with self._caching:
            self._cache.put(key, lines, _BYTES * (1 + len(lines)))
            if self._store is not None:
                self._store.put(key, lines)

    def block(self, picture: Image) -> str:
        """Quote what a picture says as the block before a question; none where nothing is read."""
        return text_block(rows_that_matter(self.read(picture)))

    def _read(self, picture: Image) -> tuple[TextLine, ...]:
        import numpy as np

        try:
            pixels = np.asarray(picture)[:, :, ::-1]  # [H, W, 3], blue first
            if self.mode == "auto" and not self._shows_text(picture, pixels):
                return ()
            self._engine.text_det.limit_side_len = _longer_side(picture, _SEARCHED)
            result = self._engine(pixels, use_det=True, use_cls=True, use_rec=True)
        except InputError:
            raise
        except Exception as error:  # of onnxruntime, which loads a model where it is first used
            raise InputError(
                f"rapidocr with the models in {self._models} fails: {error_line(error)}: install "
                "it anew"
            ) from error
        if result.txts is None:
            return ()
        read = zip(result.txts, result.scores, result.boxes.tolist(), strict=True)
        lines = [
            TextLine(text.strip(), float(score), tuple((x, y) for x, y in corners))
            for text, score, corners in read
            if _is_sure(text, score, _SURE)
        ]
        return tuple(lines)

    def _shows_text(self, picture: Image, pixels: Any) -> bool:
        """Look whether there is any text; where few places resemble it, whether letters are read.

        Railings and leaves resemble it, and the search of a photo that has them costs the most.
        """
        self._engine.text_det.limit_side_len = _longer_side(picture, _GLANCE)
        glance = self._engine(pixels, use_det=True, use_cls=False, use_rec=False)
        places = 0 if glance.boxes is None else len(glance.boxes)
        if not 0 < places <= _FEW:
            return places > 0
        glance = self._engine(pixels, use_det=True, use_cls=True, use_rec=True)
        read = zip(glance.txts or (), glance.scores or (), strict=True)
        return any(_is_sure(text, score, _PLAUSIBLE) for text, score in read)

    @cached_property
    def _engine(self) -> Any:
        import numpy as np
        from rapidocr import RapidOCR

        for name in _MODELS.values():
            if not (self._models / name).is_file():  # else it would be fetched from somewhere
                raise InputError(f"{self._models / name} is missing: install rapidocr anew")
        parameters = {
            "Global.log_level": "critical",
            "Global.text_score": 0.0,  # chosen by length, below
            "Global.max_side_len": LARGEST_SIDE,
            "Det.limit_type": "max",
            "Det.max_candidates": MOST_LINES,
            "EngineConfig.onnxruntime.intra_op_num_threads": _threads(),
            **{f"{part}.model_path": str(self._models / name) for part, name in _MODELS.items()},
        }
        engine = RapidOCR(params=parameters)
        engine(np.zeros((32, 32, 3), np.uint8), use_det=True, use_cls=False, use_rec=False)
        return engine  # whose detector is loaded, so that its size can be set


def rows_that_matter(lines: Sequence[TextLine]) -> list[str]:
    """Choose the lines that fit into a block of hints and write them as rows in reading order.

    The largest letters come first, and numbers before words of the same size: a shop's name and a
    total go before what is printed small around them.
    """
    chosen: list[TextLine] = []
    length = 0

    def weight(line: TextLine) -> float:
        return _weight(line) * (_NUMBER if any(map(str.isdigit, line.text)) else 1)

    for line in sorted(lines, key=weight, reverse=True):
        length += len(line.text) + len(_CELLS)
        if length > _BLOCK and chosen:
            break
        chosen.append(line)
    return [_CELLS.join(line.text for line in row)[:_BLOCK] for row in reading_order(chosen)]


def most_likely_line(lines: Sequence[TextLine]) -> str:
    """Return the text of the line that matters most; nothing where there is none."""
    return max(lines, key=_weight).text if lines else ""


def _longer_side(picture: Image, pixels: int) -> int:
    """Return the longer side of a picture that is scaled down to so many pixels in all."""
    longer, shorter = max(picture.size), min(picture.size)
    return min(longer, round(math.sqrt(pixels * longer / shorter)))


def _is_sure(text: str, score: float, least: float) -> bool:
    return score >= (least if len(text.strip()) > 2 else _SURE_SHORT) and bool(text.strip())


def _weight(line: TextLine) -> float:
    return line.height * line.confidence


def _threads() -> int:
    """Count the processors of this process; OMP_NUM_THREADS bounds them, as for torch."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(int(named), available or 1) if named.isdecimal() and int(named) else available or 1
