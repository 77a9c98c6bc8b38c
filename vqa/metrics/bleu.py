"""BLEU-4 (Papineni et al. 2002), computed by sacrebleu (Post 2018), for captions.

Captions are compared in lower case and without punctuation, as is usual for them; sacrebleu's own
tokenizer is therefore off. Apostrophes vanish (`dog's` is `dogs`), other punctuation is a space.
Smoothing is sacrebleu's default (`exp`), the closest reference's length counts for brevity.

The score of all rows pools their n-grams; it is not the mean of the rows' scores, which leave out
n-grams longer than the prediction. The BLEU of lmms-eval 0.7.3 and VLMEvalKit is another
one (coco-caption's own code, without this smoothing), so there is no profile for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from vqa.metrics.metric import NO_PREDICTION, Array, Item, Metric

_APOSTROPHE = re.compile("['`\u2019]")
_ORDER = 4


def sentence_bleu(prediction: str, references: Sequence[str]) -> float:
    """Compute BLEU of one prediction, from 0 to 1; n-grams longer than it are left out."""
    return combined(ngram_counts(prediction, references), effective_order=True)


def ngram_counts(prediction: str, references: Sequence[str]) -> Array:
    """Count what BLEU sums, [10]: matches and totals of 1 to 4 words, and both lengths."""
    if not references:
        return np.zeros(2 * _ORDER + 2)
    score = _scorer().sentence_score(plain(prediction), [plain(text) for text in references])
    return np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], dtype=float)


def combined(sums: Array, effective_order: bool = False) -> float:
    """Compute BLEU, from 0 to 1, of summed counts [10]."""
    from sacrebleu.metrics.bleu import BLEU

    matches, totals = sums[:_ORDER], sums[_ORDER : 2 * _ORDER]
    if not matches.any():
        return 0.0
    bleu = BLEU.compute_bleu(
        correct=[int(n) for n in matches],
        total=[int(n) for n in totals],
        sys_len=int(sums[-2]),
        ref_len=int(sums[-1]),
        smooth_method="exp",
        effective_order=effective_order,
    )
    return min(1.0, float(bleu.score) / 100)


def plain(text: str) -> str:
    """Normalise a caption: lower case, composed (NFC), without punctuation, single spaces.

    Vowel signs and accents stay: punctuation and symbols are what Unicode calls so.
    """
    lower = _APOSTROPHE.sub("", unicodedata.normalize("NFC", text).lower())
    marks = {sign for sign in lower if unicodedata.category(sign)[0] in "PS"}
    return " ".join(lower.translate(dict.fromkeys(map(ord, marks), " ")).split())


@cache
def _scorer() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", lowercase=False, effective_order=True)


def _statistics(items: Sequence[Item]) -> Array:
    counts = [ngram_counts(item.prediction, item.answers) for item in items]
    return np.array(counts, dtype=np.float64).reshape(-1, 2 * _ORDER + 2)  # [R, 10]


def _values(sums: Array) -> dict[str, Array]:
    return {"score": np.apply_along_axis(combined, -1, sums)}


def _rows(items: Sequence[Item]) -> Array:
    return np.array([sentence_bleu(item.prediction, item.answers) for item in items])  # [R]


def explain(item: Item) -> list[str]:
    """Explain how the row came to its score, a line a step."""
    if not plain(item.prediction):
        return [NO_PREDICTION]
    counts = ngram_counts(item.prediction, item.answers)
    return [
        f"prediction: {plain(item.prediction)}",
        *(f"reference: {plain(reference)}" for reference in item.answers),
        *(
            f"{counts[n]:g} of {counts[_ORDER + n]:g} n-grams of {n + 1} words are in a reference"
            for n in range(_ORDER)
        ),
        f"{counts[-2]:g} words against {counts[-1]:g} of the closest reference",
        f"alone: {sentence_bleu(item.prediction, item.answers):.4g}; the score of all rows pools "
        "these counts",
    ]


PROFILES = {"official": Metric("bleu", _statistics, _values, _rows, explain)}
