"""Question-answer data: one example, a reader for each known format, the training mix."""

from vqa.data.reading import read

__all__ = ["read"]
