"""ROUGE-L (Lin 2004) for captions, as coco-caption computes it.

Official source: `pycocoevalcap/rouge/rouge.py`. The longest common subsequence with each reference
gives a precision and a recall; the best precision and the best recall over the references (which
may be of different ones) are combined with beta 1.2, in favour of recall. The score of all rows is
their mean. Words are those of `caption_words`.

Profiles: `lmms-eval` (0.7.3: `lmms_eval/tasks/coco_cap/utils.py`) is the same; `vlmevalkit`
(VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/dataset/image_caption.py`) uses no tokenizer:
case and punctuation count, and words are what stands between single spaces, so two spaces have an
empty word between them. A prediction without words scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vqa.metrics.caption_words import caption_words
from vqa.metrics.metric import NO_PREDICTION, Item, Metric, mean_metric

BETA = 1.2
Words = Callable[[str], Sequence[str]]


def rouge_l(prediction: str, references: Sequence[str], words: Words = caption_words) -> float:
    """Score one prediction, from 0 to 1."""
    precision, recall = best(prediction, references, words)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def best(
    prediction: str, references: Sequence[str], words: Words = caption_words
) -> tuple[float, float]:
    """Return the best precision and the best recall over the references."""
    hypothesis = words(prediction)
    precisions, recalls = [0.0], [0.0]
    for reference in references:
        target = words(reference)
        common = common_subsequence(hypothesis, target)
        if common:
            precisions.append(common / len(hypothesis))
            recalls.append(common / len(target))
    return max(precisions), max(recalls)


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest sequence of words that is in both, in this order."""
    row = [0] * (len(second) + 1)
    for left in first:
        diagonal = 0
        for j, right in enumerate(second, start=1):
            above = row[j]
            row[j] = diagonal + 1 if left == right else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def explain(item: Item, words: Words = caption_words) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    hypothesis = words(item.prediction)
    if not hypothesis:
        return [NO_PREDICTION]
    lines = [f"prediction: {' '.join(hypothesis)}"]
    for reference in item.answers:
        target = words(reference)
        common = common_subsequence(hypothesis, target)
        lines.append(
            f"reference: {' '.join(target)}: {common} words in common "
            f"in this order, of {len(hypothesis)} and {len(target)}"
        )
    precision, recall = best(item.prediction, item.answers, words)
    score = rouge_l(item.prediction, item.answers, words)
    return [*lines, f"best precision {precision:.4g}, best recall {recall:.4g}: {score:.4g}"]


def _between_spaces(text: str) -> list[str]:
    return text.split(" ") if text.strip() else []


def _metric(words: Words) -> Metric:
    return mean_metric(
        "rouge_l",
        lambda item: rouge_l(item.prediction, item.answers, words),
        partial(explain, words=words),
    )


_OFFICIAL = _metric(caption_words)
PROFILES = {
    "official": _OFFICIAL,
    "lmms-eval": _OFFICIAL,
    "vlmevalkit": _metric(_between_spaces),
}
