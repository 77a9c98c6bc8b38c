"""CIDEr-D (Vedantam et al. 2015) for captions, as coco-caption computes it.

Official source: `pycocoevalcap/cider/cider_scorer.py`. N-grams of one to four words, weighted by
how few rows' references have them; the cosine with each reference, clipped, times a Gaussian of the
difference in length (sigma 6); the mean over references and n, times 10. That factor is part of the
definition: a score of 1.20 is what papers print as 120, and it may exceed 1 (its limit is 10).

The weights come from the references of all rows that are scored together, so a row's score depends
on the other rows: a single row, or rows that all have the same references, score 0. Words are those
of `caption_words`. The length is counted in pairs of words, as there.

Profiles: `lmms-eval` (0.7.3: `lmms_eval/tasks/coco_cap/utils.py`) is the same; `vlmevalkit`
(VLMEvalKit as packaged in ms-vlmeval 0.0.20: `vlmeval/dataset/image_caption.py`) uses no tokenizer:
case and punctuation count. A prediction without words scores 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from vqa.metrics.caption_words import caption_words, plain_words
from vqa.metrics.metric import NO_PREDICTION, Array, Item, Metric, mean_of_rows
from vqa.metrics.rouge import Words

LONGEST = 4
SIGMA = 6.0
Gram = tuple[str, ...]
Grams = Counter[Gram]


def cider_d(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    words: Words = caption_words,
) -> Array:
    """Score all predictions, [R], from 0 to 10; the number of references may differ."""
    reference_grams = [[grams(words(text)) for text in texts] for texts in references]
    weights = weigh(reference_grams)
    unseen = math.log(max(len(reference_grams), 1))
    scores = np.zeros(len(predictions))  # [R]
    for i, (prediction, texts) in enumerate(zip(predictions, reference_grams, strict=True)):
        prediction_grams = grams(words(prediction))
        if prediction_grams and texts:
            similarities = [similarity(prediction_grams, text, weights, unseen) for text in texts]
            scores[i] = 10 * sum(similarities) / len(texts)
    return scores


def weigh(references: Sequence[Sequence[Grams]]) -> dict[Gram, float]:
    """Weigh each n-gram: the logarithm of rows / rows whose references have it."""
    rows_with: Grams = Counter()
    for texts in references:
        rows_with.update(set().union(*texts))
    return {gram: math.log(len(references)) - math.log(rows) for gram, rows in rows_with.items()}


def grams(words: Sequence[str]) -> Grams:
    """Count the n-grams of one to four words."""
    return Counter(
        tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)
    )


def similarity(
    hypothesis: Grams, reference: Grams, weights: Mapping[Gram, float], unseen: float
) -> float:
    """Compute the mean over n of the clipped cosine, times the penalty for length; from 0 to 1."""
    dots, hypothesis_norms, reference_norms = ([0.0] * LONGEST for _ in range(3))
    for gram, count in hypothesis.items():
        weight, theirs = weights.get(gram, unseen), reference.get(gram, 0)
        dots[len(gram) - 1] += min(count, theirs) * theirs * weight**2
        hypothesis_norms[len(gram) - 1] += (count * weight) ** 2
    for gram, count in reference.items():
        reference_norms[len(gram) - 1] += (count * weights[gram]) ** 2
    cosines = [
        dot / math.sqrt(a * b) if a and b else 0.0
        for dot, a, b in zip(dots, hypothesis_norms, reference_norms, strict=True)
    ]
    away = _pairs(hypothesis) - _pairs(reference)
    return sum(cosines) / LONGEST * math.exp(-(away**2) / (2 * SIGMA**2))


def _pairs(counts: Grams) -> int:
    return sum(count for gram, count in counts.items() if len(gram) == 2)


def explain(item: Item, words: Words = caption_words) -> list[str]:
    """Explain what the row has in common with its references; the weights need the other rows."""
    hypothesis = words(item.prediction)
    if not hypothesis:
        return [NO_PREDICTION]
    lines = [f"prediction: {' '.join(hypothesis)}"]
    for reference in item.answers:
        target = words(reference)
        shared = grams(hypothesis) & grams(target)
        counts = [sum(k for gram, k in shared.items() if len(gram) == n) for n in range(1, 5)]
        lines.append(
            f"reference: {' '.join(target)}: {', '.join(map(str, counts))} n-grams of 1, 2, 3 and "
            f"4 words in common; {len(hypothesis)} words against {len(target)}"
        )
    return [
        *lines,
        "each n-gram counts by how few rows' references have it, so the score needs all rows; "
        "10 is the most",
    ]


def _metric(words: Words) -> Metric:
    def rows(items: Sequence[Item]) -> Array:
        return cider_d([i.prediction for i in items], [i.answers for i in items], words)

    return mean_of_rows("cider_d", rows, partial(explain, words=words))


_OFFICIAL = _metric(caption_words)
PROFILES = {
    "official": _OFFICIAL,
    "lmms-eval": _OFFICIAL,
    "vlmevalkit": _metric(plain_words),
}
