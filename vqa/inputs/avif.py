"""Read the sizes of the pictures coded in an AVIF file, before anything is decoded.

Its boxes may say 64 x 64 pixels while the AV1 stream in it holds frames of 16,384 x 16,384, or a
thousand of them: only the stream itself has what decoding costs.
"""

from __future__ import annotations

from collections.abc import Iterator

_MOST_FRAMES = 8  # of one picture; layered ones have up to four
_MOST_BOXES = 10_000
_FULL = 4  # bytes of version and flags that begin the content of some boxes
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6  # kinds of units in an AV1 stream

Box = tuple[bytes, bytes]  # kind, content


def coded_sizes(file: bytes) -> list[tuple[int, int]]:
    """Read width and height of every stream that a decoder of `file` may be given, with alpha.

    Of a sequence it is given the first frame. Raises ValueError where a stream has so many frames
    that decoding takes long, EOFError where the file ends before what its boxes name.
    """
    boxes: list[Box] = []
    damage: Exception = ValueError("no picture in AV1 is in it")
    try:
        for box in _boxes(file):
            boxes.append(box)
    except (EOFError, ValueError) as error:  # anything may stand behind the boxes that count
        damage = error
    streams: list[bytes] = []
    for kind, content in boxes:
        if kind == b"meta":
            streams += _items(content, file)
        elif kind == b"moov":
            streams += _first_samples(content, file)
    if not streams:
        raise damage
    return [size for stream in streams for size in _sizes(stream)]


def _boxes(content: bytes, start: int = 0) -> Iterator[Box]:
    at = start
    for _ in range(_MOST_BOXES):
        if at >= len(content):
            return
        length, head = _number(content, at, 4), 8
        if length == 1:  # the length has 64 bits
            length, head = _number(content, at + 8, 8), 16
        elif length == 0:  # up to the end
            length = len(content) - at
        if length < head:
            raise ValueError("a box in it has no length")
        kind = content[at + 4 : at + 8]
        if (
            at + length > len(content) and kind != b"mdat"
        ):  # its parts are checked when they are read
            raise EOFError("the file is truncated")
        yield kind, content[at + head : at + length]
        at += length
    raise ValueError("it has too many boxes")


def _number(content: bytes, at: int, size: int) -> int:
    if at + size > len(content):
        raise EOFError("the file is truncated")
    return int.from_bytes(content[at : at + size], "big")


def _items(meta: bytes, file: bytes) -> Iterator[bytes]:
    """Yield the streams of the pictures that stand for themselves, and of parts of pictures."""
    inside = dict(_boxes(meta, _FULL))
    coded = set(_coded_items(inside.get(b"iinf", b"")))
    for item, extents, in_meta in _locations(inside.get(b"iloc", b"")):
        if item in coded:
            source = inside.get(b"idat", b"") if in_meta else file
            yield b"".join(_part(source, at, length) for at, length in extents)


def _coded_items(iinf: bytes) -> Iterator[int]:
    if not iinf:
        return
    count_size = 2 if iinf[0] == 0 else 4
    for kind, content in _boxes(iinf, _FULL + count_size):
        id_size = 2 if content[:1] < b"\3" else 4
        kind_at = _FULL + id_size + 2
        if kind == b"infe" and content[kind_at : kind_at + 4] == b"av01":
            yield _number(content, _FULL, id_size)


def _locations(iloc: bytes) -> Iterator[tuple[int, list[tuple[int, int]], bool]]:
    """Yield each item, the start and length of its extents, and whether the meta box has them."""
    if not iloc:
        return
    version = iloc[0]
    sizes = _number(iloc, 4, 2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at = 6

    def take(size: int) -> int:
        nonlocal at
        at += size
        return _number(iloc, at - size, size)

    for _ in range(take(2 if version < 2 else 4)):
        item = take(2 if version < 2 else 4)
        in_meta = bool(version and take(2) & 15)
        take(2)  # where the data lies: in this file
        start = take(base)
        extents = []
        for _ in range(take(2)):
            take(index if version else 0)
            extents.append((start + take(offset), take(length)))
        yield item, extents, in_meta


def _part(source: bytes, at: int, length: int) -> bytes:
    if at + length > len(source):
        raise EOFError("the file is truncated")
    return source[at : at + length] if length else source[at:]


def _first_samples(moov: bytes, file: bytes) -> Iterator[bytes]:
    """Yield the stream of the first frame of each track."""
    for kind, track in _boxes(moov):
        if kind != b"trak":
            continue
        table = track
        for name in (b"mdia", b"minf", b"stbl"):
            table = dict(_boxes(table)).get(name, b"")
        inside = dict(_boxes(table))
        offsets, size = inside.get(b"stco"), 4
        if offsets is None:
            offsets, size = inside.get(b"co64"), 8
        lengths = inside.get(b"stsz")
        if offsets and lengths and _number(offsets, _FULL, 4) and _number(lengths, _FULL + 4, 4):
            constant = _number(lengths, _FULL, 4)
            length = constant or _number(lengths, _FULL + 8, 4)
            yield _part(file, _number(offsets, _FULL + 4, size), length)


def _sizes(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sizes that an AV1 stream announces for its frames."""
    at = frames = 0
    while at < len(stream):
        head = stream[at]
        kind = head >> 3 & 15
        at += 2 if head & 4 else 1  # with a byte for the layer
        length = len(stream) - at
        if head & 2:
            length, at = _leb128(stream, at)
        unit = stream[at : at + length]
        at += length
        if kind == _SEQUENCE:
            yield _sequence_size(unit)
        frames += kind in (_FRAME_HEADER, _FRAME)
        if frames > _MOST_FRAMES:
            raise ValueError(f"one picture in it has more than {_MOST_FRAMES} frames: save it anew")


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and where it ends."""
    value = 0
    for place in range(8):
        byte = _number(stream, at + place, 1)
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number in it does not end")


def _sequence_size(header: bytes) -> tuple[int, int]:
    """Read the largest frame of a stream from its sequence header (AV1 specification, 5.5.1)."""
    bits = "".join(f"{byte:08b}" for byte in header[:500])  # 32 operating points fit
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise EOFError("the file is truncated")
        return int(bits[at - count : at] or "0", 2)

    take(4)  # profile, if it is a still picture
    if take(1):  # the short form of a still picture's header
        take(5)
    else:
        delays = 0
        if take(1):  # times
            take(64)
            if take(1):
                zeros = 0
                while not take(1):
                    zeros += 1
                take(zeros)
            if take(1):
                delays = take(5) + 1
                take(42)
        displayed = take(1)
        for _ in range(take(5) + 1):  # operating points
            take(12)
            if take(5) > 7:
                take(1)
            if delays and take(1):
                take(2 * delays + 1)
            if displayed and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    return take(width_bits) + 1, take(height_bits) + 1
