"""MMMU (Yue et al. 2024): college questions, by letter or free, each scored by rules of its own.

Official source: `eval/eval_utils.py` of MMMU-Benchmark/MMMU. A row with `choices` is multiple
choice: of these the first that names any choice counts, and of several choices the last one named:

1. a letter in brackets, `(B)`;
2. a letter before a space, `B `, which also ends a word; then one before a period;
3. in more than five words, the text of a choice.

Other rows are free: candidates are what stands behind `is`, `answer`, `so`, `=` and the like in
each line, or all of it, and the numbers in them. A text is right where it contains an answer, a
number where it equals one, both rounded to two decimals.

Two differences: where no choice is named MMMU guesses at random, and here the row is wrong; and an
empty prediction is. lmms-eval 0.7.3 (`lmms_eval/tasks/mmmu/utils.py`) has the official functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vqa.metrics.metric import NO_PREDICTION, Item, mean_metric
from vqa.metrics.multiple_choice import LETTERS, choices_of, expected

_ENDS = (",", ".", "!", "?", ";", ":", "'")  # taken off in this order
_WORDS = 5  # up to which texts of choices are not looked for
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def choice(prediction: str, choices: Sequence[str]) -> int | None:
    """Return the place of the choice that a prediction names; None for none of them."""
    for mark in _ENDS:
        prediction = prediction.strip(mark)
    text = f" {prediction} "
    letters = LETTERS[: len(choices)]
    for form, last in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        named = [letter for letter in letters if form.format(letter) in text]
        if named:
            return letters.index(max(named, key=lambda letter: text.rfind(last.format(letter))))
    if len(text.split()) <= _WORDS:
        return None
    folded, forms = text.lower(), [text.lower() for text in choices]
    inside = [place for place, form in enumerate(forms) if form in folded]
    return max(inside, key=lambda place: folded.rfind(forms[place])) if inside else None


def candidates(prediction: str) -> set[str | float]:
    """Return what a free prediction may have answered: texts, and numbers in them."""
    texts = list(_key_texts(prediction))
    texts += [number for text in texts for form in _NUMBERS for number in form.findall(text)]
    return {form for text in texts for form in _forms(text)}


def _key_texts(prediction: str) -> Iterator[str]:
    """Yield the shortest end of each line behind a key word; all of it where no line has one."""
    whole = prediction.strip().strip(".").lower()
    lines, none = whole.split("\n"), True
    for number, line in enumerate(lines, start=1):
        keys = (*_KEYS, "=") if number == len(lines) else _KEYS
        ends = [line.split(key)[-1].strip() for key in keys if key in line]
        end = _shortest(ends)
        if end and end not in tuple(":,.!?;'"):
            none = False
            yield end
    if none:
        yield whole


def _shortest(ends: Sequence[str]) -> str:
    """Return the shortest; an empty one is forgotten as soon as another follows."""
    shortest = ""
    for end in ends:
        if not shortest or len(end) < len(shortest):
            shortest = end
    return shortest


def _forms(text: str) -> list[str | float]:
    """Return a number rounded, or a text in lower case; a single character with a space beside."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def free_match(prediction: str, answers: Sequence[str]) -> bool:
    """Return whether a candidate of the prediction contains an answer, or is the same number."""
    wanted = [form for answer in answers for form in _forms(answer)]
    texts = [form for form in wanted if isinstance(form, str)]
    return any(
        any(text in candidate for text in texts) if isinstance(candidate, str)
        else candidate in wanted
        for candidate in candidates(prediction)
    )  # fmt: skip


def mmmu(item: Item) -> float:
    """Return 1.0 if the prediction is right, else 0.0."""
    if not item.prediction.strip():
        return 0.0
    if "choices" in item.extra:
        return float(choice(item.prediction, choices_of(item)) in expected(item))
    return float(free_match(item.prediction, item.answers))


def explain(item: Item) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    if "choices" in item.extra:
        texts = choices_of(item)
        place = choice(item.prediction, texts)
        named = "no choice" if place is None else f"{LETTERS[place]} ({texts[place]!r})"
        right = ", ".join(f"{LETTERS[n]} ({texts[n]!r})" for n in sorted(expected(item)))
        lines = [f"prediction {item.prediction!r} is read as {named}", f"right: {right}"]
    else:
        read = ", ".join(sorted(map(repr, candidates(item.prediction))))
        lines = [f"the prediction may have answered {read}",
                 f"answers: {', '.join(map(repr, item.answers))}"]  # fmt: skip
    return [*lines, f"score: {mmmu(item):g}"]


_METRIC = mean_metric("mmmu", mmmu, explain)
PROFILES = dict.fromkeys(("official", "lmms-eval"), _METRIC)
