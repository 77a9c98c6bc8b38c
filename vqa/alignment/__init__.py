"""A shared space of pictures and texts, in which those that belong together are near (CLIP)."""

from vqa.errors import InputError

MAX_TEXT = 8000  # characters; text encoders take far less, but to count tokens takes a model


def check_length(text: str) -> None:
    """Raise InputError for a text that is too long for any text encoder."""
    if len(text) > MAX_TEXT:
        start = " ".join(text[:37].split()) + "..."
        raise InputError(
            f"the text {start!r} has {len(text):,} characters: at most {MAX_TEXT:,} are read"
        )
