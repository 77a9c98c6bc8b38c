"""Answers that join and leave a batch at any step are those that each gets alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from PIL import Image

from tests.engine.conftest import KINDS
from tests.engine.test_engine import ask, mixed, same
from tests.engine.test_not_finite import poison
from vqa.answering import Answer, Request, SupportsBatches, Token, answer_probability
from vqa.engine import LocalEngine
from vqa.errors import InputError, NotFiniteError
from vqa.models.checkpoints import LoadedModel

Load = Callable[..., LoadedModel]
Pictures = list[Image.Image]


class Collected:
    """What has come of each request of a batch."""

    def __init__(self, engine: LocalEngine) -> None:
        self.batch = engine.open_batch()
        self.tokens: dict[int, list[Token]] = {}
        self.ends: dict[int, Any] = {}

    def add(self, requests: Mapping[int, Request]) -> None:
        self._take(self.batch.add(requests))

    def step(self) -> None:
        self._take(self.batch.step())

    def _take(self, events: list[tuple[int, Any]]) -> None:
        for key, event in events:
            assert key not in self.ends
            if isinstance(event, Token):
                self.tokens.setdefault(key, []).append(event)
            else:
                self.ends[key] = event

    def finish(self) -> None:
        while len(self.batch):
            self.step()


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_joins_gets_the_answer_it_gets_alone(
    load_tiny: Load, pictures: Pictures, kind: str
) -> None:
    requests = mixed(pictures)
    expected = [LocalEngine(load_tiny(kind)).answer([request])[0] for request in requests[:5]]
    collected = Collected(LocalEngine(load_tiny(kind)))
    assert collected.batch.step() == []
    collected.add({0: requests[0], 1: requests[1]})
    collected.step()
    collected.add({2: requests[2]})
    collected.step()
    collected.step()
    collected.add({3: requests[3], 4: requests[4]})
    collected.finish()
    same([collected.ends[key] for key in range(5)], expected)
    for key, answer in collected.ends.items():
        tokens = collected.tokens[key]
        assert "".join(token.text for token in tokens) == answer.text
        assert len(tokens) == answer.new_tokens
        log_prob = math.fsum(token.log_prob for token in tokens)
        assert answer_probability(log_prob, answer.text) == pytest.approx(answer.probability)


def test_a_sampled_answer_depends_on_its_seed_alone(load_tiny: Load, pictures: Pictures) -> None:
    sampled = [ask("red?", [pictures[0]], temperature=0.9, seed=seed) for seed in (1, 2)]
    expected = [LocalEngine(load_tiny()).answer([request])[0] for request in sampled]
    collected = Collected(LocalEngine(load_tiny()))
    collected.add({7: ask("how many?", [pictures[1]])})
    collected.step()
    collected.add({1: sampled[0]})
    collected.step()
    collected.add({2: sampled[1]})
    collected.finish()
    same([collected.ends[1], collected.ends[2]], expected)
    assert expected[0].text != expected[1].text


def test_whoever_leaves_frees_its_place_at_once(load_tiny: Load, pictures: Pictures) -> None:
    stays, leaves = ask("what?", [pictures[0]]), ask("how many?", [pictures[1]])
    (expected,) = LocalEngine(load_tiny()).answer([stays])
    engine = LocalEngine(load_tiny())
    collected = Collected(engine)
    collected.add({0: stays, 1: leaves})
    collected.step()
    answer = collected.batch.cancel(1)
    assert (answer.finish_reason, answer.new_tokens) == ("cancelled", 2)
    assert len(collected.batch) == 1
    before = engine.stats.decoded_tokens
    collected.step()
    assert engine.stats.decoded_tokens == before + 1
    collected.finish()
    same([collected.ends[0]], [expected])
    collected.add({2: leaves})  # the batch takes up others once it was empty
    collected.finish()
    assert isinstance(collected.ends[2], Answer)


def test_one_bad_request_spoils_no_other(load_tiny: Load, pictures: Pictures) -> None:
    good = ask("red?", [pictures[0]], max_new_tokens=1)
    bad = ask("how many cats?", [pictures[0]], max_new_tokens=1)
    (expected,) = LocalEngine(load_tiny()).answer([good])
    loaded = load_tiny()
    poison(loaded, bad, [good])
    collected = Collected(LocalEngine(loaded))
    collected.add({0: good, 1: bad, 2: Request(()), 3: ask("long " * 5000)})
    collected.finish()
    same([collected.ends[0]], [expected])
    assert isinstance(collected.ends[1], NotFiniteError)
    assert isinstance(collected.ends[2], InputError)
    assert isinstance(collected.ends[3], InputError)


def test_the_engine_says_that_it_can(load_tiny: Load) -> None:
    assert isinstance(LocalEngine(load_tiny()), SupportsBatches)
