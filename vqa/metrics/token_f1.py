"""Token F1 (Rajpurkar et al. 2016): how much of an answer's words the prediction shares.

Official source: `evaluate-v1.1.py` of SQuAD. Lower case, no ASCII punctuation, no articles, single
spaces; F1 of precision and recall over the words, each counted as often as it is there; the best of
the answers. A prediction or an answer of which no word is left scores 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from vqa.metrics.exact_match import without_ascii_punctuation
from vqa.metrics.metric import NO_PREDICTION, Item, mean_metric

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Compute the best F1 over the answers, from 0 to 1."""
    return max((f1(prediction, answer) for answer in answers), default=0.0)


def f1(prediction: str, answer: str) -> float:
    """Compute F1 of the words of prediction and answer."""
    hypothesis, reference = words(prediction), words(answer)
    shared = _shared(hypothesis, reference)
    return 2 * shared / (len(hypothesis) + len(reference)) if shared else 0.0


def words(text: str) -> list[str]:
    """Split a text into the words that are compared."""
    return _ARTICLES.sub(" ", without_ascii_punctuation(text)).split()


def _shared(hypothesis: Sequence[str], reference: Sequence[str]) -> int:
    return (Counter(hypothesis) & Counter(reference)).total()


def explain(item: Item) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not item.prediction.strip():
        return [NO_PREDICTION]
    hypothesis = words(item.prediction)
    lines = [f"prediction {item.prediction!r} has the words {' '.join(hypothesis)!r}"]
    for answer in dict.fromkeys(item.answers):
        reference = words(answer)
        lines.append(
            f"answer {' '.join(reference)!r}: {_shared(hypothesis, reference)} words shared of "
            f"{len(hypothesis)} and {len(reference)}: F1 {f1(item.prediction, answer):.4g}"
        )
    return [*lines, f"the best of them: {token_f1(item.prediction, item.answers):.4g}"]


PROFILES = {
    "official": mean_metric(
        "token_f1", lambda item: token_f1(item.prediction, item.answers), explain
    )
}
