"""English words and captions as text: tokens, plurals, phrases, numbers."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[a-z']+|\d+")
_IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "foot": "feet",
    "goose": "geese", "mouse": "mice", "knife": "knives", "sheep": "sheep", "skis": "skis",
    "scissors": "scissors", "cattle": "cattle", "deer": "deer", "fish": "fish", "ox": "oxen",
    "snowman": "snowmen", "leaf": "leaves", "calf": "calves",
}  # fmt: skip
_UNCOUNTED = frozenset(
    {"snow", "water", "grass", "food", "broccoli", "sunglasses", "skis", "scissors", "cattle"}
)
_NUMBERS = ("one", "two", "three", "four", "five", "six")
NUMBERS = {word: number for number, word in enumerate(_NUMBERS, start=1)}


def plural(noun: str) -> str:
    """Return the plural of a noun or of the last noun of a phrase."""
    head, _, last = noun.rpartition(" ")
    if last.endswith("shelf"):
        many = f"{last[:-1]}ves"
    elif last in _IRREGULAR or last in _UNCOUNTED:
        many = _IRREGULAR.get(last, last)
    elif re.search(r"(s|x|z|ch|sh)$", last):
        many = f"{last}es"
    elif re.search(r"[^aeiou]y$", last):
        many = f"{last[:-1]}ies"
    else:
        many = f"{last}s"
    return f"{head} {many}".strip()


def is_countable(noun: str) -> bool:
    """Return whether the noun takes `a` and a number."""
    return noun.rpartition(" ")[2] not in _UNCOUNTED


def is_plural(noun: str) -> bool:
    """Return whether the noun takes `are`: `shorts`, `men`; not `grass`."""
    last = noun.rpartition(" ")[2]
    if last in _UNCOUNTED:
        return last in {"sunglasses", "skis", "scissors", "cattle"}
    return last in _IRREGULAR.values() or (last.endswith("s") and not last.endswith(("ss", "us")))


def with_article(noun: str) -> str:
    """Put the article before a noun: `a dog`, `an umbrella`; `snow` stays as it is."""
    if not is_countable(noun) or is_plural(noun):
        return noun
    vowel = noun[0].lower() in "aeiou" and not noun.startswith(("uni", "use", "eu"))
    return f"{'an' if vowel or noun == 'hourglass' else 'a'} {noun}"


# two words that name another thing than either of them does
_JOINED = re.compile(
    r"\b(hot(?= dogs?\b)|(?:pit|red)(?= bulls?\b)|pony(?= tail)|(?:water|jet)(?= ski)"
    r"|beach(?= ball)|(?:subway|train|cable|coaster|street|bumper|toy|rail|box)(?= cars?\b)) "
)


def normal_text(caption: str) -> str:
    """Return the words alone, lower case, spaces around each: `" a dog 's ball "`.

    `hot dog` is one word.
    """
    return _JOINED.sub(r"\1", f" {' '.join(_TOKEN.findall(caption.lower()))} ")


def clean_caption(caption: str) -> str:
    """Make a sentence of a caption: no space before punctuation, a capital first, a full stop last.

    >>> clean_caption("two dogs run on the beach , playing .")
    'Two dogs run on the beach, playing.'
    """
    text = re.sub(r"\s+", " ", caption).strip().replace("``", '"').replace("''", '"')
    text = re.sub(r"\s+([.,;:!?])", r"\1", text)
    text = re.sub(r"\s+('(?:s|re|ve|ll|d|m)\b|n't\b)", r"\1", text)
    text = text.strip(' "').rstrip(".,;: ")
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}{'' if text[-1] in '!?' else '.'}"
