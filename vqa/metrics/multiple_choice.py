"""Multiple choice: the prediction names a choice, by its letter or by its text.

A row has its choices in the column `choices` (a list); its answer is a letter (A is the first) or
the text of a choice. No benchmark's scorer is the official one for all. The rules here are those of
MMMU (`eval_utils.py`, `parse_multi_choice_response`), with four differences: where nothing is
found the row is wrong (MMMU guesses at random); the text of a choice, `B. a dog` and `answer is B`
are understood first; a text that is found inside a longer answer may be of any length, but must
stand there as whole words; and a lone small letter counts. Marks around a text do not count unless
they alone tell two choices apart (`5` and `.5`). In this order:

1. the whole prediction is the text of a choice;
2. it is a letter alone, or begins with one: `B`, `b`, `(B)`, `B. a dog`, `B) a dog`;
3. `answer is B`, `Answer: B`, `option B`; the last of them;
4. `(B)` anywhere; the last of them;
5. a capital standing alone between spaces; the last of them (so `A dog` is an A, as in MMMU);
6. the text of a choice inside the prediction; the last of them, the longer before the shorter.

Profiles:

- `lmms-eval` (`lmms_eval/tasks/scienceqa/utils.py`): exactly the letter, or a text that begins with
  a capital and a period; nothing else is right.
- `vlmevalkit` (`vlmeval/utils/matching_util.py`, `can_infer` with exact matching, without its
  judge by language model): one letter among the last words, or else `answer is B`, or else exactly
  one choice whose text is contained.

An empty prediction is wrong.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vqa.errors import InputError
from vqa.metrics.metric import Item, Metric, mean_metric
from vqa.metrics.wording import EMPTY

LETTERS = string.ascii_uppercase
_ENDS = " \t\n\r.,:;!?'\"*`"
_ALONE = re.compile(r"\(?([A-Za-z])[).:]?")
_FIRST = re.compile(r"\(([A-Z])\)\s|([A-Z])[.):]\s")
_SAID = re.compile(r"(?i:answer|option|choice)\s*(?i:is|:)*\s*[*(\"']*([A-Z])(?![\w'])")
_VERBOSE = re.compile(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**")  # vlmevalkit
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


def official(prediction: str, choices: Sequence[str]) -> int | None:
    """The place of the choice that the prediction names; None for none of them."""
    letters = LETTERS[: len(choices)]
    if (whole := _named(prediction, choices)) is not None:
        return whole
    text = prediction.strip(_ENDS)
    if (found := _ALONE.fullmatch(text)) and found[1].upper() in letters:
        return letters.index(found[1].upper())
    if (found := _FIRST.match(text)) and (found[1] or found[2]) in letters:
        return letters.index(found[1] or found[2])
    for pattern in (_SAID, re.compile(r"\(([A-Z])\)"), re.compile(r"(?<!\S)([A-Z])(?!\S)")):
        named = [letter for letter in pattern.findall(text) if letter in letters]
        if named:
            return letters.index(named[-1])
    return _inside(prediction, choices)


def lmms_eval(prediction: str, choices: Sequence[str]) -> int | None:
    """The same after the rules of lmms-eval's ScienceQA."""
    letters = LETTERS[: len(choices)]
    exact = len(prediction) == 1 or prediction[1:2] == "."
    return letters.index(prediction[0]) if exact and prediction[0] in letters else None


def vlmevalkit(prediction: str, choices: Sequence[str]) -> int | None:
    """The same after the rules of VLMEvalKit."""
    letters = LETTERS[: len(choices)]
    if any(refusal in prediction for refusal in _REFUSALS):
        return None
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", prediction).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - 5:
        return letters.index(named[0])
    if not named and "Z" in words:
        return None
    if (found := _VERBOSE.search(prediction)) and found[1].upper() in letters:
        return letters.index(found[1].upper())
    if len(prediction) > 2 * sum(map(len, choices)):
        return None
    inside = [i for i, choice in enumerate(choices) if choice.lower() in prediction.lower()]
    return inside[0] if len(inside) == 1 else None


_READERS: dict[str, Callable[[str, Sequence[str]], int | None]] = {
    "official": official,
    "lmms-eval": lmms_eval,
    "vlmevalkit": vlmevalkit,
}


def choices_of(item: Item) -> list[str]:
    """The texts of the row's choices. Raises InputError where there are none."""
    found: Any = item.extra.get("choices")
    if not isinstance(found, list | tuple) or not 0 < len(found) <= len(LETTERS):
        raise InputError(
            f"multiple_choice: the row of {item.question!r} has no column `choices` with a list "
            f"of up to {len(LETTERS)} texts"
        )
    return [str(choice) for choice in found]


def expected(item: Item) -> set[int]:
    """The places of the right choices. Raises InputError for an answer that is no choice."""
    choices = choices_of(item)
    found = set()
    for answer in item.answers:
        letter = answer.strip(_ENDS + "()").upper()
        if (named := _named(answer, choices)) is not None:
            found.add(named)
        elif len(letter) == 1 and letter in LETTERS[: len(choices)]:
            found.add(LETTERS.index(letter))
        else:
            raise InputError(
                f"multiple_choice: the answer {answer!r} to {item.question!r} is neither a letter "
                f"nor one of the choices {', '.join(map(repr, choices))}"
            )
    return found


def multiple_choice(item: Item, profile: str = "official") -> float:
    """1.0 if the prediction names a right choice, else 0.0."""
    right = expected(item)
    if not item.prediction.strip():
        return 0.0
    return float(_READERS[profile](item.prediction, choices_of(item)) in right)


def explain(item: Item, profile: str = "official") -> list[str]:
    """How the row came to its score."""
    choices, right = choices_of(item), expected(item)
    if not item.prediction.strip():
        return [EMPTY]
    found = _READERS[profile](item.prediction, choices)
    named = "no choice" if found is None else f"{LETTERS[found]} ({choices[found]!r})"
    return [
        "choices: " + ", ".join(f"{LETTERS[i]} {text!r}" for i, text in enumerate(choices)),
        f"prediction {item.prediction!r} is read as {named} (profile {profile})",
        "right: " + ", ".join(f"{LETTERS[i]} ({choices[i]!r})" for i in sorted(right)),
        f"score: {multiple_choice(item, profile):g}",
    ]


def _named(text: str, choices: Sequence[str]) -> int | None:
    """The choice of this text; marks around it count only where they tell choices apart."""
    folded = list(map(_folded, choices))
    if _folded(text) in folded:
        return folded.index(_folded(text))
    alike = _alike(text, choices)
    return folded.index(alike.pop()) if len(alike) == 1 else None


def _alike(text: str, choices: Sequence[str]) -> set[str]:
    """The choices that only marks tell from a text, folded."""
    return {form for form in map(_folded, choices) if _bare(form) == _bare(text)}


def _bare(text: str) -> str:
    return _folded(text.strip(_ENDS))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _inside(prediction: str, choices: Sequence[str]) -> int | None:
    """The choice whose text stands last in the prediction; where two end there, the longer."""
    whole, ends = _folded(prediction), []
    for i, choice in enumerate(choices):
        # without the marks around it, unless these tell it from another choice
        text = _bare(choice) if len(_alike(choice, choices)) == 1 else _folded(choice)
        places = list(re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", whole)) if text else []
        if places:
            ends.append((places[-1].end(), len(text), -i))
    return -max(ends)[2] if ends else None


def _metric(profile: str) -> Metric:
    return mean_metric(
        "multiple_choice",
        partial(multiple_choice, profile=profile),
        partial(explain, profile=profile),
    )


PROFILES = {profile: _metric(profile) for profile in _READERS}
