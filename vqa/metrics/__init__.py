"""Metrics by the names that `vqa score --metric` takes; each is a pure function in its own file.

A profile is whose rules count: `official` (the benchmark's own scorer), `lmms-eval` or
`vlmevalkit`, where those differ from it. Each file says how, and where its rules come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from vqa.errors import InputError
from vqa.metrics import (
    anls,
    bleu,
    cider,
    circular_choice,
    counting,
    exact_match,
    gqa,
    mme,
    mmmu,
    multiple_choice,
    pope,
    relaxed_accuracy,
    rouge,
    token_f1,
    vqa_accuracy,
)
from vqa.metrics.metric import Item, Metric

__all__ = ["METRICS", "PROFILES", "Item", "Metric", "get_metric"]

_BY_NAME = {
    "vqa_accuracy": vqa_accuracy.PROFILES,
    "exact_match": exact_match.PROFILES,
    "token_f1": token_f1.PROFILES,
    "gqa": gqa.PROFILES,
    "pope": pope.PROFILES,
    "anls": anls.PROFILES,
    "relaxed_accuracy": relaxed_accuracy.PROFILES,
    "multiple_choice": multiple_choice.PROFILES,
    "circular_choice": circular_choice.PROFILES,
    "mme": mme.PROFILES,
    "mmmu": mmmu.PROFILES,
    "counting": counting.PROFILES,
    "bleu": bleu.PROFILES,
    "rouge_l": rouge.PROFILES,
    "cider_d": cider.PROFILES,
}
METRICS = tuple(_BY_NAME)
PROFILES = ("official", "lmms-eval", "vlmevalkit")


def get_metric(name: str, profile: str = "official") -> Metric:
    """Return the metric of that name with the rules of that profile.

    Raises InputError with the names there are, and for a profile whose rules for this metric are
    not known.
    """
    if name not in _BY_NAME:
        raise InputError(f"no metric {name!r}{_meant(name, METRICS)}; there are {_list(METRICS)}")
    if profile not in PROFILES:
        raise InputError(
            f"no profile {profile!r}{_meant(profile, PROFILES)}; there are {_list(PROFILES)}"
        )
    known = _BY_NAME[name]
    if profile not in known:
        raise InputError(
            f"no rules of {profile} are known for {name}; use the profile {_list(known)}"
        )
    return known[profile]


def _meant(word: str, words: tuple[str, ...]) -> str:
    close = get_close_matches(word.lower().replace("-", "_"), words, n=1)
    close = close or get_close_matches(word.lower(), words, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
