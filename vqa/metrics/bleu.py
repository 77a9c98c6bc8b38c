"""BLEU-4 (Papineni et al. 2002), computed by sacrebleu (Post 2018), for captions.

Captions are compared in lower case and without punctuation, as is usual for them; sacrebleu's own
tokenizer is therefore off. Apostrophes vanish (`dog's` is `dogs`), other punctuation is a space.
Smoothing is sacrebleu's default (`exp`), the closest reference's length counts for brevity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

_APOSTROPHE = re.compile("['`\u2019]")
_PUNCTUATION = re.compile(r"[^\w\s]|_")


def corpus_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of all predictions together, from 0 to 1; the number of references may differ.

    N-grams are counted over the corpus: it is not the mean of `sentence_bleu`.
    """
    most = max((len(texts) for texts in references), default=0)
    if not predictions or not most:
        return 0.0
    streams = [
        [plain(texts[i]) if i < len(texts) else None for texts in references] for i in range(most)
    ]
    score = _scorer(effective_order=False).corpus_score([plain(p) for p in predictions], streams)
    return float(score.score) / 100


def sentence_bleu(prediction: str, references: Sequence[str]) -> float:
    """BLEU of one prediction, from 0 to 1; n-grams longer than it are left out."""
    if not references:
        return 0.0
    scorer = _scorer(effective_order=True)
    return (
        float(scorer.sentence_score(plain(prediction), [plain(r) for r in references]).score) / 100
    )


def plain(text: str) -> str:
    """Lower case, without punctuation, single spaces."""
    return " ".join(_PUNCTUATION.sub(" ", _APOSTROPHE.sub("", text.lower())).split())


@cache
def _scorer(effective_order: bool) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", lowercase=False, effective_order=effective_order)
