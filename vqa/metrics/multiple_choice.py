"""Multiple choice: the prediction names a choice, by its letter or by its text.

A row has its choices in the column `choices` (a list); its answer is a letter (A is the first) or
the text of a choice. No benchmark's scorer is the official one for all. The rules here began as
those of MMMU (`eval_utils.py`, `parse_multi_choice_response`); where no rule gives a choice the
row is wrong (MMMU guesses at random). Of a prediction that marks its answer (`\\boxed{B}`,
`<answer>B</answer>`, what follows `</think>`) only that is read. In this order:

1. the whole of it is the text of a choice; marks around do not count unless they alone tell two
   choices apart (`5` and `.5`);
2. it names a letter, as `choice_letters` tells;
3. the text of a choice stands in it as whole words; the last of them, the longer before the
   shorter.

Profiles:

- `lmms-eval` (0.7.3: `lmms_eval/tasks/scienceqa/utils.py`): the letter alone, of either case, or a
  text that begins with a capital letter and a period, the ends stripped; nothing else is right.
- `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/utils/matching_util.py`,
  `can_infer`, without its judge by language model): the one capital letter that is a word, if it is
  among the last four words; else the one choice whose text is contained. nvidia-vlmeval 26.3 takes
  such a letter anywhere, and texts in answers of any length.

An empty prediction is wrong.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vqa.errors import InputError
from vqa.metrics.choice_letters import final_answer, letter_of
from vqa.metrics.metric import NO_PREDICTION, Item, Metric, mean_metric

LETTERS = string.ascii_uppercase
_ENDS = " \t\n\r.,:;!?'\"*`。，、：；！？"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_FAILED = "Failed to obtain answer via API"  # vlmevalkit looks only for texts of choices then


def official(prediction: str, choices: Sequence[str]) -> int | None:
    """Return the place of the choice that the prediction names; None for none of them."""
    answer = final_answer(prediction)
    for text in (prediction, answer):
        if (whole := _named(text, choices)) is not None:
            return whole
    letter = letter_of(answer, choices)
    return _inside(answer, choices) if letter is None else letter


def lmms_eval(prediction: str, choices: Sequence[str]) -> int | None:
    """Return the same after the rules of lmms-eval's ScienceQA."""
    letters = LETTERS[: len(choices)].lower()
    text = prediction.strip()
    if text[:1].isupper() and text[1:2] == ".":
        text = text[0]
    text = text.lower()
    return letters.index(text) if len(text) == 1 and text in letters else None


def vlmevalkit(prediction: str, choices: Sequence[str]) -> int | None:
    """Return the same after the rules of VLMEvalKit."""
    letters = LETTERS[: len(choices)]
    if _FAILED not in prediction:
        if any(refusal in prediction for refusal in _REFUSALS):
            return None
        words = re.sub(r"[.()\[\],:;!*#{}]", " ", prediction).split()
        named = [letter for letter in letters if letter in words]
        if len(named) == 1 and words.index(named[0]) > len(words) - 5:
            return letters.index(named[0])
        if not named and "Z" in words:
            return None
    text = prediction.lower()
    if len(text) > 2 * sum(map(len, choices)):
        return None
    inside = [i for i, choice in enumerate(choices) if choice.lower() in text]
    return inside[0] if len(inside) == 1 else None


_READERS: dict[str, Callable[[str, Sequence[str]], int | None]] = {
    "official": official,
    "lmms-eval": lmms_eval,
    "vlmevalkit": vlmevalkit,
}


def choices_of(item: Item) -> list[str]:
    """Return the texts of the row's choices. Raises InputError where there are none."""
    choices: Any = item.extra.get("choices")
    if not isinstance(choices, list | tuple) or not 0 < len(choices) <= len(LETTERS):
        raise InputError(
            f"multiple_choice: the row of {item.question!r} has no column `choices` with a list "
            f"of up to {len(LETTERS)} texts"
        )
    return [str(choice) for choice in choices]


def expected(item: Item) -> set[int]:
    """Return the places of the right choices. Raises InputError for an answer that is no choice."""
    choices = choices_of(item)
    places = set()
    for answer in item.answers:
        letter = answer.strip(_ENDS + "()").upper()
        if answer in choices:
            places |= {n for n, choice in enumerate(choices) if choice == answer}
        elif (named := _named(answer, choices)) is not None:
            places.add(named)
        elif len(letter) == 1 and letter in LETTERS[: len(choices)]:
            places.add(LETTERS.index(letter))
        else:
            raise InputError(
                f"multiple_choice: the answer {answer!r} to {item.question!r} is neither a letter "
                f"nor one of the choices {', '.join(map(repr, choices))}"
            )
    return places


def multiple_choice(item: Item, profile: str = "official") -> float:
    """Return 1.0 if the prediction names a right choice, else 0.0."""
    right = expected(item)
    if not item.prediction.strip():
        return 0.0
    return float(_READERS[profile](item.prediction, choices_of(item)) in right)


def explain(item: Item, profile: str = "official") -> list[str]:
    """Explain how the row came to its score, a line a step."""
    choices, right = choices_of(item), expected(item)
    if not item.prediction.strip():
        return [NO_PREDICTION]
    place = _READERS[profile](item.prediction, choices)
    named = "no choice" if place is None else f"{LETTERS[place]} ({choices[place]!r})"
    return [
        "choices: " + ", ".join(f"{LETTERS[i]} {text!r}" for i, text in enumerate(choices)),
        f"prediction {item.prediction!r} is read as {named} (profile {profile})",
        "right: " + ", ".join(f"{LETTERS[i]} ({choices[i]!r})" for i in sorted(right)),
        f"score: {multiple_choice(item, profile):g}",
    ]


def _named(text: str, choices: Sequence[str]) -> int | None:
    """Return the choice of this text; marks around it count only where they tell choices apart."""
    if text in choices:  # some differ in case alone
        return choices.index(text)
    folded = list(map(_folded, choices))
    if _folded(text) in folded:
        return folded.index(_folded(text))
    alike = _alike(text, choices)
    return folded.index(alike.pop()) if len(alike) == 1 else None


def _alike(text: str, choices: Sequence[str]) -> set[str]:
    """Return the choices that only marks tell from a text, folded."""
    return {form for form in map(_folded, choices) if _bare(form) == _bare(text)}


def _bare(text: str) -> str:
    return _folded(text.strip(_ENDS))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _inside(prediction: str, choices: Sequence[str]) -> int | None:
    """Return the choice whose text stands last in a prediction; where two end there, the longer."""
    whole, ends = _folded(prediction), []
    for i, choice in enumerate(choices):
        # without the marks around it, unless these tell it from another choice
        text = _bare(choice) if len(_alike(choice, choices)) == 1 else _folded(choice)
        places = list(re.finditer(_alone(text), whole)) if text else []
        if places:
            ends.append((places[-1].end(), len(text), -i))
    return -max(ends)[2] if ends else None


def _alone(text: str) -> str:
    """Write the pattern of a text that is no part of a word, nor of a longer number or its sign."""
    before, behind = r"(?<!\w)", r"(?!\w)"
    if text[0].isdigit():
        before += r"(?<!\d[.,:/])(?<!\s[-\u2212])(?<!^[-\u2212])"
    if text[-1].isdigit():
        behind += r"(?![.,:/]\d)"
    return before + re.escape(text) + behind


def _metric(profile: str) -> Metric:
    return mean_metric(
        "multiple_choice",
        partial(multiple_choice, profile=profile),
        partial(explain, profile=profile),
    )


PROFILES = {profile: _metric(profile) for profile in _READERS}
