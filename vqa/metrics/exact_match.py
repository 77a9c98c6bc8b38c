"""Exact match: is the prediction one of the accepted answers, spelling rules aside?

The rules are those of SQuAD (Rajpurkar et al. 2016): lower case, no punctuation, no articles (a,
an, the), single spaces. Three differences: `_` is a space (DAQUAR joins words with it), a point
between digits and a minus before one are kept (2.5 is not 25), and a text of which nothing would be
left (`a`, `?`) is compared as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_KEPT = re.compile(r"(?<=\d)\.(?=\d)|(?<!\S)-(?=\d)")


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals any of the answers after `normalize`, else 0.0."""
    said = normalize(prediction)
    return float(any(said == normalize(answer) for answer in answers))


def normalize(text: str) -> str:
    """The text as it is compared.

    >>> normalize(" The T-shirt. ")
    'tshirt'
    """
    text = unicodedata.normalize("NFC", text).lower().replace("_", " ").strip()
    kept = {match.start() for match in _KEPT.finditer(text)}
    plain = "".join(c for i, c in enumerate(text) if i in kept or not _is_punctuation(c))
    return " ".join(_ARTICLES.sub(" ", plain).split()) or text


def _is_punctuation(character: str) -> bool:
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")
