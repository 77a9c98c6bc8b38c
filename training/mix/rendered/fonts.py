"""The fonts of this machine: files with Latin or Chinese letters, grouped by family."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from hashlib import sha256
from pathlib import Path

from vqa.errors import InputError

_LATIN = "ABCXYZabcxyz0123456789.,:;/-()%&#$"
_CHINESE = "的国店路号电话营业时间总计日期出口请勿停车"
_SYMBOLS = re.compile(
    r"symbol|dingbat|math|emoji|icon|music|d050000l|last resort|keyboard|^cm(sy|ex|mi)", re.I
)
Families = tuple[tuple[Path, ...], ...]


@cache
def families(chinese: bool = False) -> Families:
    """List the families that have all letters, each its files; in an order that names give.

    Debian's packages bring many under free licences (fonts-liberation2, fonts-noto-core,
    fonts-wqy-microhei); matplotlib brings a few. Raises InputError where there are fewer than two
    families of Latin letters: one is held out.
    """
    from matplotlib import font_manager, get_data_path
    from matplotlib.ft2font import FT2Font

    letters = {ord(letter) for letter in (_CHINESE if chinese else _LATIN)}
    files = {*font_manager.findSystemFonts(), *map(str, Path(get_data_path()).rglob("*.ttf"))}
    grouped: defaultdict[str, set[Path]] = defaultdict(set)
    for file in sorted(files):
        try:
            font = FT2Font(file)
        except (OSError, RuntimeError):  # of a kind that FreeType does not scale
            continue
        if not _SYMBOLS.search(font.family_name) and letters <= font.get_charmap().keys():
            grouped[font.family_name].add(Path(file))
    if len(grouped) < 2 and not chinese:
        raise InputError("text is rendered in two families of fonts at least: install fonts-dejavu")
    names = sorted(grouped, key=lambda name: sha256(name.encode()).hexdigest())
    return tuple(tuple(sorted(grouped[name])) for name in names)
