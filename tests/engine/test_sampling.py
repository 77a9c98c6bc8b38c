"""Sampling tokens: frequencies, the nucleus, one number for each token."""

from __future__ import annotations

import math

import pytest
import torch

from vqa.answering import SamplingParams
from vqa.engine.sampling import Sampler, sample_tokens

LOGITS = torch.tensor([[0.0, 2.0, 1.0, -math.inf, 3.0]])


def frequencies(temperature: float, top_p: float, count: int = 2000) -> torch.Tensor:
    sampler = Sampler.of(SamplingParams(temperature=temperature, top_p=top_p, seed=7))
    tokens = [sample_tokens(LOGITS, [sampler])[0][0] for _ in range(count)]
    return torch.bincount(torch.tensor(tokens), minlength=5) / count


def test_frequencies_are_the_softmax_at_the_temperature() -> None:
    for temperature in (0.7, 1.0, 2.0):
        expected = (LOGITS[0] / temperature).softmax(-1)
        got = frequencies(temperature, 1.0)
        assert got[3] == 0
        torch.testing.assert_close(got, expected, rtol=0, atol=0.04)


def test_top_p_keeps_the_smallest_set_that_holds_it() -> None:
    likely = LOGITS[0].softmax(-1)
    got = frequencies(1.0, float(likely[4] + likely[1] / 2))  # the second completes it
    assert (got > 0).tolist() == [False, True, False, False, True]
    torch.testing.assert_close(got[4], likely[4] / (likely[4] + likely[1]), rtol=0, atol=0.04)
    assert frequencies(1.0, float(likely[4]) - 0.01, 50)[4] == 1


def test_scores_are_of_the_model_not_of_the_sampler() -> None:
    rows = LOGITS.repeat(3, 1)
    samplers = [
        None,
        Sampler.of(SamplingParams(temperature=0.5, top_p=0.5, seed=1)),
        Sampler.of(SamplingParams(temperature=3.0, seed=4)),
    ]
    ids, scores = sample_tokens(rows, samplers)
    assert ids[0] == 4
    expected = LOGITS[0].log_softmax(-1)[ids]
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)


def test_nearly_equal_logits_do_not_change_places() -> None:
    tokens = []
    for nudge in (1e-6, -1e-6):
        logits = torch.tensor([[3.0, 0.0, 3.0 + nudge, 1.0]])
        sampler = Sampler.of(SamplingParams(temperature=1.0, top_p=0.95, seed=3))
        tokens.append([sample_tokens(logits, [sampler])[0][0] for _ in range(50)])
    assert tokens[0] == tokens[1]
    assert {0, 2} <= set(tokens[0])
