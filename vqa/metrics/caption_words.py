"""The words of a caption, as coco-caption's tokenizer gives them, without Java.

Source: `pycocoevalcap/tokenizer/ptbtokenizer.py` of coco-caption (Chen et al. 2015), which runs
Stanford's PTBTokenizer (CoreNLP 3.4.1) in lower case and drops the punctuation of a list. Here the
rules that matter in captions are written as patterns:

- `dog's` is `dog 's`, `isn't` is `is n't`, `cannot` is `can not`, `gonna` is `gon na`;
- hyphens and slashes inside words stay (`snow-covered`, `and/or`), numbers keep their commas and
  points, and so do abbreviations (`u.s.a.`, `mr.`);
- commas, periods, quotes, dashes, `?`, `!`, `:` and `;` are dropped; other marks are words.

Two quirks of the original are reproduced: brackets stay as `-lrb-`, `-rrb-` and so on, since the
list has them in capitals, and a run such as `!!!` or `?!` stays too. Texts with addresses, smileys,
markup or rare abbreviations may come out differently.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_QUOTES = str.maketrans({"\u2018": "`", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_ABBREVIATIONS = """
mr mrs ms dr prof st jr sr vs etc inc co corp ltd mt ft ave blvd rd dept gen sen rep gov capt lt col
sgt jan feb mar apr jun jul aug sep sept oct nov dec
"""
_ENDINGS = r"n't|'(?:s|m|d|re|ve|ll)"
_TOKEN = re.compile(
    rf"""
    </?[a-z]\w*/?>                                         # <tag>
  | (?:https?://|www\.)\S+ | \S+@\w[\w-]*(?:\.\w[\w-]*)+   # addresses
  | (?:[^\W\d_]\.){{2,}}                                   # u.s.a., p.m.
  | (?:{"|".join(_ABBREVIATIONS.split())})\.(?!\w) | no\.(?=\s\d)
  | '(?:tis|twas)\b | 'n' | '\d\ds\b
  | \d+(?:st|nd|rd|th|s)\b
  | [-+]?\d+(?:[.,:/]\d+)*                                 # 2,000 and 1/2
  | {_ENDINGS}(?!\w)
  | [@\#]?[^\W\d](?:\w|[-/.&](?=\w)|'(?=\w)(?!(?:s|m|d|re|ve|ll|t)(?!\w)))*?(?=n't(?!\w))
  | [@\#]?[^\W\d](?:\w|[-/.&](?=\w)|'(?=\w)(?!(?:s|m|d|re|ve|ll)(?!\w)))*
  | \.{{2,}} | -{{2,}} | [?!]+ | `` | ''
  | \S
    """,
    re.VERBOSE,
)
_PARTED = {
    "cannot": ["can", "not"],
    "gonna": ["gon", "na"],
    "gotta": ["got", "ta"],
    "wanna": ["wan", "na"],
    "lemme": ["lem", "me"],
    "gimme": ["gim", "me"],
    "'tis": ["'t", "is"],
    "'twas": ["'t", "was"],
}


@lru_cache(maxsize=1 << 16)
def caption_words(text: str) -> tuple[str, ...]:
    """Split a caption into its words, in their order.

    >>> caption_words("A dog's ball, on snow-covered grass!")
    ('a', 'dog', "'s", 'ball', 'on', 'snow-covered', 'grass')
    """
    words: list[str] = []
    composed = unicodedata.normalize("NFC", text)  # on Macs an accent may be a mark of its own
    for token in _TOKEN.findall(composed.translate(_QUOTES).lower()):
        if token != '"' and token not in _DROPPED:
            words += _PARTED.get(token, [_BRACKETS.get(token, token)])
    return tuple(words)


def plain_words(text: str) -> tuple[str, ...]:
    """Split a text at its spaces, as it stands (profile vlmevalkit)."""
    return tuple(text.split())
