"""ANLS, average normalised Levenshtein similarity (Biten et al. 2019), for text read in pictures.

Official source: the evaluation script of ST-VQA, DocVQA and InfographicVQA (Robust Reading
Competition). Lower case, single spaces; 1 - edits / length of the longer text; the best of the
answers; below 0.5 it is 0. One quirk is reproduced: the edits are counted between the prepared
texts, the length is that of the texts as they were given.

Profiles: `lmms-eval` (0.7.3: `anls` in `lmms_eval/api/metrics.py`; its tasks strip the prediction
before) and `vlmevalkit` (VLMEvalKit as packaged in ms-vlmeval 0.0.20:
`vlmeval/dataset/utils/vqa_eval.py`) are the same. An empty prediction scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from vqa.metrics.metric import NO_PREDICTION, Item, mean_metric

THRESHOLD = 0.5


def anls(prediction: str, answers: Sequence[str]) -> float:
    """Compute the best similarity over the answers, from 0 to 1; 0 below the threshold."""
    if not prediction.strip():
        return 0.0
    best = max((similarity(prediction, answer) for answer in answers), default=0.0)
    return best if best >= THRESHOLD else 0.0


def similarity(prediction: str, answer: str) -> float:
    """Compute 1 - edits / length of the longer text; 1 for two empty ones."""
    hypothesis, reference = prepared(prediction), prepared(answer)
    longer = max(len(prediction.upper()), len(answer.upper()))
    return 1 - edits(hypothesis, reference) / longer if longer else 1.0


def prepared(text: str) -> str:
    """Fold case and spaces: lower case, single spaces."""
    return " ".join(text.lower().split())


def edits(first: str, second: str) -> int:
    """Count the Levenshtein distance: insertions, deletions and replacements of a character."""
    if first == second:
        return 0
    row = list(range(len(second) + 1))  # distances of first[:i] to each second[:j]
    for i, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, start=1):
            cost = diagonal + (left != right)
            diagonal = row[j]
            row[j] = min(cost, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def explain(item: Item) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    hypothesis = prepared(item.prediction)
    lines = [f"prediction is compared as {hypothesis!r}"]
    for answer in dict.fromkeys(item.answers):
        reference = prepared(answer)
        lines.append(
            f"answer {reference!r}: {edits(hypothesis, reference)} edits, similarity "
            f"{similarity(item.prediction, answer):.4g}"
        )
    score = anls(item.prediction, item.answers)
    return [*lines, f"the best of them, or 0 below {THRESHOLD}: {score:.4g}"]


_METRIC = mean_metric("anls", lambda item: anls(item.prediction, item.answers), explain)
PROFILES = dict.fromkeys(("official", "lmms-eval", "vlmevalkit"), _METRIC)
