"""The only door for pixels: a path, bytes, a file or a PIL image becomes a safe RGB picture."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable
from typing import IO, BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vqa.errors import InputError
from vqa.inputs import avif, signatures
from vqa.inputs.picture_layout import MAX_BYTES, check_layout, check_tags, max_bytes

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image


def _heif(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open the picture that a HEIF file shows first. libheif turns it upright."""
    import pillow_heif  # 60 ms, which most commands can do without

    image: ImageFile.ImageFile = pillow_heif.HeifImageFile(file)
    image.info = {}  # EXIF tells how the camera was held: libheif has turned it
    return image


# They are called directly instead of through `Image.open`: a JPEG stays the first picture of a
# multi-picture file, and no PIL size warning gets in the way of our own limit, which is checked on
# the header.
_READERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIC": _heif,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_PIXELS = 64_000_000  # of one picture, unless a caller says otherwise
_PNG_EXIF = "Raw profile type exif"  # EXIF in hexadecimal, as some programs write it
_MOST_PNG_EXIF = 1 << 17  # characters
_ORIENTATION = 0x0112  # EXIF tag
_PHOTOMETRIC, _WHITE_IS_ZERO = 0x0106, 0  # TIFF tag, and its value where 0 is white
_TILE = 322, 323  # TIFF tags: width and height of a tile
_MAX_SCANS = 100  # of a JPEG: each goes over the whole picture; progressive ones have about ten
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # of a JPEG, with content behind it


# The damage that PIL warns of in text of its own either does not matter or ends as an ImageError.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageError(InputError):
    """A picture that cannot be used; the message names it and says why."""


def load_image(source: Source, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Load a picture as RGB, upright, with nothing attached (no EXIF, profile or open file).

    `source` is a path, the content of a file as bytes, an open binary file, or a PIL image. JPEG,
    PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF are read, recognised by content. More than `max_pixels`
    (width x height) are refused before anything is decoded. Transparency is put on white, 16 bits
    are scaled to 8. Of an animation or several pictures the first is taken.

    Raises ImageError, and nothing else, for whatever is wrong with the picture.
    """
    name = _name(source)
    try:
        if isinstance(source, Image.Image):
            return _finish(source, name, max_pixels)
        with _open(source, name) as file:
            return _decode(file, name, max_pixels)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory.") from error
    except Exception as error:  # PIL raises nearly any type on a damaged file
        damage = " ".join(str(error).split()).rstrip(".")
        damage = damage if " " in damage else "its content does not follow the format"
        raise ImageError(f"{name} is damaged: {damage}.") from error


def _name(source: Source) -> str:
    """Name the picture for messages: always one line that any terminal can print."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"The picture ({len(source):,} bytes)"
    name = getattr(source, "name", None) if hasattr(source, "read") else source
    if not isinstance(name, (str, os.PathLike)):
        return "The picture"
    text = os.fsdecode(name)
    text = text if len(text) <= 300 else f"{text[:100]}...{text[-100:]}"
    return text if text.isprintable() and text.strip() else ascii(text)


def _open(source: object, name: str) -> IO[bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fsdecode(source), name)
    if not hasattr(source, "read"):
        kind = type(source).__name__
        raise ImageError(
            f"A {kind} is no picture: give a path, bytes, a binary file or a PIL image."
        )
    if source.seekable() if hasattr(source, "seekable") else hasattr(source, "seek"):
        source.seek(0)  # type: ignore[attr-defined]
    data = source.read(MAX_BYTES + 1)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"{name} was opened as text: open it in binary mode.")
    return io.BytesIO(data)


def _open_path(path: str, name: str) -> BinaryIO:
    if re.match(r"[a-z][a-z0-9+.-]+://|data:", path, re.I):
        raise ImageError(f"{name} is a URL: download the picture and give its path.")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name} is a directory: name a picture in it.")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{name} is not a file (a device or pipe).")
        return open(path, "rb")
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file; check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        why = getattr(error, "strerror", None) or error
        raise ImageError(f"{name} cannot be read: {why}.") from error


def _decode(file: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    head = file.read(512)
    size = file.seek(0, io.SEEK_END)
    if not head:
        raise ImageError(f"{name} is empty (0 bytes).")
    form = signatures.detect_format(head)
    if form is None:
        raise ImageError(f"{name} is {signatures.describe_other(head)}.")
    if form.name == "AVIF" and not AvifImagePlugin.SUPPORTED:
        raise ImageError(f"{name} is AVIF, which this Pillow was built without: convert it to PNG.")
    if size > max_bytes(form.name):
        raise ImageError(f"{name} has {size:,} bytes, which no picture needs: save it anew.")
    try:
        early = _early_sizes(file, head, form.name)
        check_layout(file, size, form.name, early, max_pixels)
        for early_size in early:
            _check_size(*early_size, name, max_pixels)
        if form.name == "JPEG":
            file.seek(0)
            if _scans(file.read()) > _MAX_SCANS:
                raise ImageError(f"{name} has more than {_MAX_SCANS} scans: save it anew.")
        file.seek(0)
        image = _READERS[form.name](file)
        _check_size(*image.size, name, max_pixels)
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile may be larger than all
            width, height = (image.tag_v2.get(tag, 1) for tag in _TILE)
            _check_size(width, height, name, max_pixels)
        image.load()
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels: make it smaller.") from error
    except Exception as error:
        if _ends_early(head, size, str(error)):
            raise ImageError(f"{name} ends too early: the file is not complete.") from error
        raise
    return _finish(image, name, max_pixels)


def _scans(jpeg: bytes) -> int:
    """Count the scans of a JPEG up to its end, or until they are too many."""
    count, at = 0, 2
    while count <= _MAX_SCANS and (marker := _MARKER.search(jpeg, at)) and marker[1] != b"\xd9":
        count += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return count


def _early_sizes(file: IO[bytes], head: bytes, name: str) -> list[tuple[int, int]]:
    """Read the sizes before a reader of the format allocates anything."""
    file.seek(0)
    if name == "AVIF":
        sizes = _sizes_in_heif(file)
        file.seek(0)
        return sizes + avif.coded_sizes(file.read())
    return _sizes_in_heif(file) if name == "HEIC" else _sizes_in_header(head)


def _sizes_in_header(head: bytes) -> list[tuple[int, int]]:
    """Read width and height where the format's reader allocates the picture as it opens it."""

    def number(at: int, count: int) -> int:
        return int.from_bytes(head[at : at + count], "little")

    if head[:4] == b"GIF8":
        return [(number(6, 2), number(8, 2))]
    match head[12:16] if head[:4] == b"RIFF" else b"":
        case b"VP8X":
            return [(number(24, 3) + 1, number(27, 3) + 1)]
        case b"VP8L":
            return [((number(21, 4) & 0x3FFF) + 1, (number(21, 4) >> 14 & 0x3FFF) + 1)]
        case b"VP8 ":
            return [(number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF)]
    return []


def _sizes_in_heif(file: IO[bytes]) -> list[tuple[int, int]]:
    """Read the sizes of all pictures in a HEIF file as they are decoded, not yet cropped."""
    sizes: list[tuple[int, int]] = []
    at = 0
    for _ in range(1000):  # boxes; a picture has three or so
        file.seek(at)
        box = file.read(16)  # length and kind, then the length again where it has 64 bits
        length = int.from_bytes(box[:4], "big")
        length = int.from_bytes(box[8:16], "big") if length == 1 else length
        if box[4:8] == b"meta":
            content = file.read(length or -1)
            if b"iovl" in content:
                raise ValueError("pictures laid over each other are not read")
            for match in re.finditer(rb"ispe....(....)(....)", content, re.DOTALL):
                sizes.append((int.from_bytes(match[1], "big"), int.from_bytes(match[2], "big")))
        if length < 8:  # the last one, or damage
            break
        at += length
    return sizes


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}).")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has too many pixels ({width:,} x {height:,}; at most {max_pixels:,} in all): "
            "make it smaller."
        )


def _ends_early(head: bytes, size: int, message: str) -> bool:
    """Return whether a file of `size` bytes that failed with `message` was cut off."""
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head[:4] in (b"II*\0", b"MM\0*"):  # the directory of a TIFF often stands at the end
        order = "little" if head[0] == ord("I") else "big"
        if int.from_bytes(head[4:8], order) + 2 > size:  # type: ignore[arg-type]
            return True
    cut = (
        "truncated",
        "unexpected end",
        "eof",
        "not enough image data",
        "no more images",
        "end of file",
        "no 'meta' box",
        "broken",
    )
    return size < 64 or any(word in message.lower() for word in cut)


def _finish(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Bring a PIL image to upright RGB on white, as a new picture."""
    _check_size(*image.size, name, max_pixels)
    image.load()
    orientation = _orientation(image)
    if image.mode.startswith(("I", "F")):
        tags = getattr(image, "tag_v2", {})  # of a TIFF; Pillow inverts those of 8 bits
        image = _to_eight_bits(image)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            image = ImageOps.invert(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = _on_white(image)
    rgb = image.convert("RGB")
    if orientation in _TURNS:
        rgb = rgb.transpose(_TURNS[orientation])
    rgb.info = {}  # or an orientation would be applied again by the next call
    return rgb


def _orientation(image: Image.Image) -> int:
    try:
        exif = image.info.get("exif", b"")
        while exif.startswith(b"Exif\0\0"):
            exif = exif[6:]
        check_tags(io.BytesIO(exif), len(exif))
        if len(image.info.get(_PNG_EXIF, "")) > _MOST_PNG_EXIF:
            del image.info[_PNG_EXIF]
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not make a good picture bad
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)  # was 16 bits a channel
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits, 32 bits or floats to 8: nothing is clipped.

    16 bits by 257. Wider integers the same where they stay within 16 bits, floats by 255 where they
    stay within 0 to 1 and not at all within 0 to 255; else lowest to highest value become 0 to 255.
    """
    import numpy as np  # 70 ms, which a command that only prints its help can do without

    values = np.asarray(image)  # [H, W]
    clear = image.info.get("transparency")
    # in place: a picture may have 64 million pixels
    grey: np.ndarray = np.nan_to_num(values.astype(np.float32), False, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        grey /= 257
    elif image.mode == "F" and low >= 0 and high <= 1:
        grey *= 255
    elif image.mode.startswith("I") or low < 0 or high > 255:
        half = max(high / 2 - low / 2, 1e-30)  # the difference may be more than a float holds
        grey /= 2
        grey -= low / 2
        grey /= half
        grey *= 255
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(np.rint(grey, out=grey).astype(np.uint8))
