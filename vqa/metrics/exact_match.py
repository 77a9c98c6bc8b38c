"""Exact match: is the prediction one of the accepted answers, spelling rules aside?

The rules are those of SQuAD (Rajpurkar et al. 2016): lower case, no punctuation, no articles (a,
an, the), single spaces. Three differences: `_` is a space (DAQUAR joins words with it), a text of
which nothing would be left (`a`, `?`) is compared as it is, and marks stay without which it would
be another number or grade:

- any between digits: 2.5 is not 25, nor 1/2 12, 10:30 1030, 5-7 57, 6'2 62 or 2^3 23; but a `,`
  that groups thousands goes: 1,000 is 1000;
- `-` and `.` at the beginning of a number: neither -5 nor .5 is 5;
- `+` and `-` at the end of a single letter, and of AB: B+ is not B- (grades, blood groups).

Dashes and the minus sign are read as `-`, curved apostrophes and the sign for feet as `'`, and
full-width marks as those of ASCII.

Profiles, which keep articles and spaces:

- `lmms-eval` (0.7.3: `exact_match_hf_evaluate` in `lmms_eval/api/metrics.py` with `ignore_case` and
  `ignore_punctuation`, as most of its tasks set it; they strip the prediction before): lower case,
  no ASCII punctuation.
- `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20: `process_line` with
  `method="accuracy"`, `vlmeval/dataset/utils/vqa_eval.py`): lower case, no spaces at the ends.

An empty prediction scores 0; in lmms-eval it is as good as an answer that is all punctuation.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence

from vqa.metrics.metric import NO_PREDICTION, Item, Metric, compared_as, count_texts, mean_metric

_ARTICLES = re.compile(r"\b(a|an|the)\b(?![+-])")  # A- is a grade
_AS_ASCII = str.maketrans("：，．／－‐‑‒–—―−’‘′", ":,./--------'''")
_THOUSANDS = re.compile(r"(?<!\d)(?<!\d[.,])\d{1,3}(?:,\d{3})+(?!\d)")
# Marks that stay are groups: before a number, behind other marks only; in it; behind a letter
_STAYS = re.compile(
    r"(?<!\S)[^\w\s.-]*(?:(-)[^\w\s.-]*)?(\.)?(?=\d)"
    r"|(?<=\d)([^\w\s])(?=\d)"
    r"|(?:(?<=\b[^\W\d])|(?<=\bab))([+-])(?!\w)"
)
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)

Form = Callable[[str], str]  # a text -> the form in which it is compared


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the prediction equals any of the answers after `normalize`, else 0.0."""
    return equals_any(prediction, answers, normalize)


def equals_any(prediction: str, answers: Sequence[str], form: Form) -> float:
    """Return 1.0 if the prediction equals any of the answers in that form, else 0.0."""
    if not prediction.strip():
        return 0.0
    hypothesis = form(prediction)
    return float(any(hypothesis == form(answer) for answer in answers))


def normalize(text: str) -> str:
    """Bring a text to the form in which it is compared.

    >>> normalize(" The T-shirt. ")
    'tshirt'
    """
    text = unicodedata.normalize("NFC", text).lower().replace("_", " ").strip()
    marked = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text.translate(_AS_ASCII))
    stay = {match.start(n) for match in _STAYS.finditer(marked) for n in range(1, 5)}
    plain = "".join(c for i, c in enumerate(marked) if i in stay or not _is_punctuation(c))
    return " ".join(_ARTICLES.sub(" ", plain).split()) or text


def without_ascii_punctuation(text: str) -> str:
    """Lower the case and remove ASCII punctuation; spaces stay."""
    return text.lower().translate(_ASCII_PUNCTUATION)


def lower_stripped(text: str) -> str:
    """Lower the case and strip the ends."""
    return text.strip().lower()


def match_metric(name: str, form: Form) -> Metric:
    """Make the metric: the share of rows whose prediction equals an answer in that form."""

    def explain(item: Item) -> list[str]:
        if not item.prediction.strip():
            return [NO_PREDICTION]
        forms = [form(answer) for answer in item.answers]
        score = equals_any(item.prediction, item.answers, form)
        return [
            compared_as("prediction", item.prediction, form(item.prediction)),
            f"answers are compared as: {count_texts(forms)}",
            f"{'it is one of them' if score else 'it is none of them'}: {score:g}",
        ]

    return mean_metric(name, lambda item: equals_any(item.prediction, item.answers, form), explain)


def _is_punctuation(character: str) -> bool:
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


PROFILES = {
    "official": match_metric("exact_match", normalize),
    "lmms-eval": match_metric("exact_match", without_ascii_punctuation),
    "vlmevalkit": match_metric("exact_match", lower_stripped),
}
