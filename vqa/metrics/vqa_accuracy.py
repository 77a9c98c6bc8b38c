"""VQA accuracy (Antol et al. 2015, Goyal et al. 2017): how many of ten people agree?

An answer that k of the others gave scores min(k / 3, 1); the score is its mean over leaving out
each of the answers once. Official source: GT-Vision-Lab/VQA,
`PythonEvaluationTools/vqaEvaluation/vqaEval.py`, in the form that compares unanimous answers raw,
reproduced with its quirks:

- Only where the answers differ are prediction and answers normalised; ten times `yes` against
  `Yes` is 0. Line breaks and tabs become spaces and the ends are stripped in any case.
- A punctuation mark is removed everywhere if it has a space beside it somewhere, or if the text
  has a comma between two digits; otherwise it becomes a space (`t-shirt` is `t shirt`). The
  apostrophe, the colon and the period are not in that list.
- A period is removed unless a digit follows. The pattern was meant to look before the period too,
  and hands over a flag (32) where the number of replacements is expected: the 33rd period stays.
- Then lower case, number words up to ten (and `none`) to digits, no articles, and apostrophes put
  into some contractions.
- With a single answer there are no others: the score is 0. Use `exact_match` for such data.

Profiles:

- `lmms-eval` (0.7.3: `lmms_eval/tasks/vqav2/utils.py`, `_task_utils/vqa_eval_metric.py`): both are
  always normalised, and several commas between two digits count as one: ten times `yes` against
  `Yes` is 1. The answers differ by their `answer_id`, as in VQA v2.
- `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/dataset/utils/vqa_eval.py`,
  `vlmeval/smp/misc.py`): both are always normalised, and a period after a digit stays too.

In all profiles an empty prediction scores 0; to the kits it is as good as an answer of which no
word is left (`the`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise

from vqa.metrics.contractions import CONTRACTIONS
from vqa.metrics.metric import NO_PREDICTION, Item, Metric, count_texts, mean_metric

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBER_WORDS.split())}
_COMMA = re.compile(r"\d,\d")
_COMMAS = re.compile(r"\d,+\d")  # lmms-eval: several commas count too
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_APART = re.compile(r"(?<!\d)\.(?!\d)")  # vlmevalkit
_MOST_PERIODS = int(re.UNICODE)


def vqa_accuracy(prediction: str, answers: Sequence[str], profile: str = "official") -> float:
    """Score one prediction against the people's answers, from 0 to 1."""
    if not prediction.strip() or not answers:
        return 0.0
    return leave_one_out(*compared(prediction, answers, profile))


def compared(
    prediction: str, answers: Sequence[str], profile: str = "official"
) -> tuple[str, list[str]]:
    """Bring prediction and answers to the form in which they are compared."""
    form, forms = clean(prediction), [clean(answer) for answer in answers]
    if profile != "official" or len(set(forms)) > 1:
        form = normalize(form, profile)
        forms = [normalize(answer, profile) for answer in forms]
    return form, forms


def leave_one_out(prediction: str, answers: Sequence[str]) -> float:
    """Compute the mean over the answers of min(matches among the others / 3, 1)."""
    matches = list(answers).count(prediction)
    scores = [min(1.0, (matches - (answer == prediction)) / 3) for answer in answers]
    return sum(scores) / len(scores)


def clean(text: str) -> str:
    """Replace line breaks and tabs by spaces, no space at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalize(text: str, profile: str = "official") -> str:
    """Apply all rules to a text.

    >>> normalize("The U.S.A.")
    'usa'
    """
    return steps(text, profile)[-1][1]


@lru_cache(maxsize=1 << 16)
def steps(text: str, profile: str = "official") -> tuple[tuple[str, str], ...]:
    """Apply the rules in their order; return each with the text after it."""
    forms = [("as given", text)]
    all_vanish = (_COMMAS if profile == "lmms-eval" else _COMMA).search(text) is not None
    marked = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        marked = marked.replace(mark, "" if beside_space or all_vanish else " ")
    forms.append(("punctuation", marked))
    period = _PERIOD_APART if profile == "vlmevalkit" else _PERIOD
    forms.append(("periods", period.sub("", marked, count=_MOST_PERIODS)))
    words = forms[-1][1].lower().split()
    forms.append(("lower case, single spaces", " ".join(words)))
    words = [_NUMBERS.get(word, word) for word in words]
    forms.append(("number words", " ".join(words)))
    words = [word for word in words if word not in _ARTICLES]
    forms.append(("articles", " ".join(words)))
    words = [CONTRACTIONS.get(word, word) for word in words]
    forms.append(("contractions", " ".join(words)))
    return tuple(forms)


def explain(item: Item, profile: str = "official") -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    form, answers = compared(item.prediction, item.answers, profile)
    raw = [clean(answer) for answer in item.answers]
    lines = [f"prediction: {item.prediction!r}", f"answers: {count_texts(raw)}"]
    if len(set(raw)) <= 1:
        lines.append(
            "all answers are the same: "
            + (
                "prediction and answers are compared as they stand, case included"
                if profile == "official"
                else f"they are normalised nevertheless (profile {profile})"
            )
        )
    for what, before, after in _changed(item.prediction, form, raw, answers):
        lines.append(f"{what} {before!r} is compared as {after!r}")
        lines += [f"  {rule}: {text!r}" for rule, text in _rules(before, after, profile)]
    if not answers:
        return [*lines, "there are no answers: the score is 0"]
    matches = answers.count(form)
    lines.append(f"{matches} of {len(answers)} answers are {form!r}")
    for times, own in ((matches, 1), (len(answers) - matches, 0)):
        if times:
            score = min(1.0, (matches - own) / 3)
            lines.append(
                f"leaving out an answer that {'matches' if own else 'does not match'} ({times} of "
                f"them): min({matches - own} / 3, 1) = {score:.4g}"
            )
    if len(answers) == 1:
        lines.append("a single answer leaves no others to agree with; exact_match takes such data")
    lines.append(f"the mean of the {len(answers)}: {leave_one_out(form, answers):.4g}")
    return lines


def _changed(
    prediction: str, form: str, raw: Sequence[str], answers: Sequence[str]
) -> list[tuple[str, str, str]]:
    """List what is compared in another form than it was given: what, before, after; each once."""
    pairs = [("prediction", prediction, form)]
    pairs += [("answer", a, b) for a, b in dict.fromkeys(zip(raw, answers, strict=True))]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _rules(before: str, after: str, profile: str) -> list[tuple[str, str]]:
    """List the rules that changed the text, as far as they lead to what is compared."""
    cleaned = clean(before)
    forms = steps(cleaned, profile)
    if forms[-1][1] != after:
        return []
    changed = [("line breaks, tabs and ends", cleaned)] if cleaned != before else []
    return changed + [now for last, now in pairwise(forms) if last[1] != now[1]]


def _metric(profile: str) -> Metric:
    return mean_metric(
        "vqa_accuracy",
        lambda item: vqa_accuracy(item.prediction, item.answers, profile),
        partial(explain, profile=profile),
    )


PROFILES = {profile: _metric(profile) for profile in ("official", "lmms-eval", "vlmevalkit")}
