"""Formats of pictures: how their files begin and how they are named."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PictureFormat:
    """A format of pictures. It is detected by content, never by a file's name."""

    name: str
    mime: str
    beginning: re.Pattern[bytes]
    endings: tuple[str, ...]  # the usual one first


def _format(name: str, mime: str, beginning: bytes, *endings: str) -> PictureFormat:
    return PictureFormat(name, f"image/{mime}", re.compile(beginning, re.DOTALL), endings)


FORMATS = (
    _format("JPEG", "jpeg", rb"\xff\xd8\xff", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    _format("PNG", "png", rb"\x89PNG\r\n\x1a\n", ".png", ".apng"),
    _format("WebP", "webp", rb"RIFF....WEBP", ".webp"),
    _format("GIF", "gif", rb"GIF8[79]a", ".gif"),
    _format("BMP", "bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp", ".dib"),
    _format("TIFF", "tiff", rb"II[*+]\0|MM\0[*+]", ".tif", ".tiff"),
    # AVIF may be named as a later one of the kinds that a file is; any other HEIF has HEVC in it
    _format("AVIF", "avif", rb"....ftyp(....){,20}avi[fs]", ".avif", ".avifs"),
    _format("HEIC", "heic", rb"....ftyp(he[iv][cmsx]|m[is]f1)", ".heic", ".heif", ".hif"),
)
SUFFIXES = frozenset(ending for form in FORMATS for ending in form.endings)
HEAD_BYTES = 128  # that are enough to detect a format


def format_names() -> str:
    """List all formats in words, for messages."""
    *others, last = (form.name for form in FORMATS)
    return f"{', '.join(others)} or {last}"


# Files that are no picture of these formats: what they are, and what to do about it.
_CONVERT = f"which is not read: convert it to {format_names()}"
_OTHERS = tuple(
    (re.compile(beginning, re.DOTALL | re.IGNORECASE), what)
    for beginning, what in (
        (rb"\s*(<!doctype html|<html)", "a web page, not a picture: download the picture itself"),
        (rb"\s*(<\?xml|<!--|<!doctype svg|<svg)", f"an SVG drawing or other XML, {_CONVERT}"),
        (
            rb"version https://git-lfs",
            "what Git LFS put in its place: fetch it with `git lfs pull`",
        ),
        (rb"\xff\n|....(ftyp)?jxl ", f"a picture in JPEG XL, {_CONVERT}"),
        (rb"....(ftyp)?jp[2 xm] ", f"a picture in JPEG 2000, {_CONVERT}"),
        (rb"%!PS", f"a PostScript drawing, {_CONVERT}"),
        (rb"8BPS", f"a picture of Photoshop (PSD), {_CONVERT}"),
        (rb"\0\0\x01\0", f"an icon (ICO), {_CONVERT}"),
        (rb"P[1-7]\s+[#\d]", f"a picture in PNM, {_CONVERT}"),
        (
            rb"....ftypM4[AB]|RIFF....WAVE|ID3[\x02-\x04]|OggS\0|fLaC\0",
            "a sound recording, not a picture",
        ),
        (
            rb"....(ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI |\0\0\x01\xba",
            "a video, not a picture: take frames out of it",
        ),
        (rb"%PDF", "a PDF, not a picture: save its pages as pictures"),
        (rb"PK\x03\x04", "a zip file, not a picture: unpack it"),
        (rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z", "text, not a picture: check the path"),
    )
)


def describe_other(head: bytes) -> str:
    """Describe a content that is no picture of these formats, as the end of a message."""
    descriptions = (what for beginning, what in _OTHERS if beginning.match(head))
    return next(descriptions, f"no picture, or one of a format {_CONVERT}")


def detect_format(head: bytes) -> PictureFormat | None:
    """Detect the format of a picture whose content begins with `head`; None for no picture."""
    return next((form for form in FORMATS if form.beginning.match(head)), None)
