"""Guess why a wrong answer is wrong, by plain rules on the texts: the first that holds counts.

The guesses sort a gallery for a reader; no score depends on them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from vqa.metrics.anls import edits

CAUSES = {
    "format": "The right answer in another form: one of the texts holds the other.",
    "near miss": "Off by a letter or two, by one in a number, or with half of the words right.",
    "always yes": "A wrong yes of a model that says yes far more often than the answers do.",
    "picture ignored": "The same answer as with a blank or another picture.",
    "other": "None of these.",
}

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*|[^\W_]+")
_NUMBER = re.compile(r"[0-9]{1,15}")
_ARTICLES = frozenset({"a", "an", "the"})
_SMALL = _ARTICLES | {  # words that two texts share by chance
    "of", "in", "on", "at", "is", "are", "it", "and", "with", "to", "there", "this", "that", "its",
    "was", "be", "by", "for", "from",
}  # fmt: skip
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)  # fmt: skip
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_FAR_ABOVE = 0.15  # of the share of yes
_ENOUGH = 10  # yes-no questions to speak of a habit


def cause(
    prediction: str,
    answers: Sequence[str],
    blind: str | None = None,
    swap: str | None = None,
    often_yes: bool = False,
) -> str:
    """Guess the cause, one of `CAUSES`, of a wrong prediction; without words it is `other`.

    `blind` and `swap` are the model's predictions for a blank and another row's picture, None where
    they are not known; `often_yes` is what `too_many_yes` returns for the model.
    """
    predicted = words(prediction)
    accepted = [part for part in map(words, answers) if part]
    if not predicted:
        return "other"
    if any(_same_in_another_form(predicted, part) for part in accepted):
        return "format"
    if any(_is_near(predicted, part) for part in accepted):
        return "near miss"
    if often_yes and predicted[0] == "yes" and majority(answers) == "no":
        return "always yes"
    if any(words(text) == predicted for text in (blind, swap) if text is not None):
        return "picture ignored"
    return "other"


def words(text: str) -> list[str]:
    """Split a text into the words that are compared: lower case, no articles, numbers as digits.

    >>> words("Two of the T-shirts.")
    ['2', 'of', 't', 'shirts']
    """
    everything = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    content = [word for word in everything if word not in _ARTICLES] or everything
    return [_DIGITS.get(word, word) for word in content]


def too_many_yes(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> bool:
    """Return whether a model says yes by 15 points too often, on at least ten yes-no questions."""
    pairs = [
        (words(prediction)[:1] == ["yes"], right == "yes")
        for prediction, accepted in zip(predictions, answers, strict=True)
        if (right := majority(accepted)) in ("yes", "no")
    ]
    if len(pairs) < _ENOUGH:
        return False
    share, expected = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return share - expected > _FAR_ABOVE


def majority(answers: Sequence[str]) -> str:
    """Return the answer that most gave, as `words` has it; of several the first."""
    texts = [" ".join(words(answer)) for answer in answers]
    return max(texts, key=texts.count, default="")


def _same_in_another_form(predicted: Sequence[str], accepted: Sequence[str]) -> bool:
    """Return whether one's words stand in a row in the other's, or only spaces and marks differ."""
    a, b = f" {' '.join(predicted)} ", f" {' '.join(accepted)} "
    return a in b or b in a or "".join(predicted) == "".join(accepted)


def _is_near(predicted: Sequence[str], accepted: Sequence[str]) -> bool:
    """Return whether a prediction is almost the answer.

    Numbers: off by one. Else a letter or two differ (one below eight letters, none below four), or
    half of the words of an answer of several are there; words such as `of` and `is` do not count.
    """
    numbers = [[int(w) for w in part if _NUMBER.fullmatch(w)] for part in (predicted, accepted)]
    if [len(part) for part in numbers] == [1, 1]:
        return abs(numbers[0][0] - numbers[1][0]) == 1
    if sum(map(len, numbers)) == len(predicted) + len(accepted):
        return False
    a, b = " ".join(predicted), " ".join(accepted)
    if min(len(a), len(b)) >= 4:
        most = 1 if max(len(a), len(b)) < 8 else 2
        if abs(len(a) - len(b)) <= most and edits(a, b) <= most:
            return True
    content = {word for word in accepted if word not in _SMALL}
    return len(content) > 1 and 2 * len(content & set(predicted)) >= len(content)
