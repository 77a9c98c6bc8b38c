"""Numbers that are NaN or infinite give no answer and no score, and spoil no other row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from tests.engine.test_engine import ask, same
from vqa.answering import Request
from vqa.engine import LocalEngine
from vqa.engine.sampling import log_probs_of, sample_tokens
from vqa.errors import NotFiniteError
from vqa.evaluation.answer_rows import answer_halving
from vqa.inputs.prompts import encode
from vqa.models.checkpoints import LoadedModel
from vqa.models.finite import first_not_finite

Load = Callable[..., LoadedModel]
Pictures = list[Image.Image]
KINDS = ("llava_1_5", "phi3")  # by our own forward pass, and by transformers'


def weight(loaded: LoadedModel, name: str) -> torch.Tensor:
    return dict(loaded.model.named_parameters(remove_duplicate=False))[name].data


def damaged(load_tiny: Load, kind: str, name: str, value: float) -> LocalEngine:
    loaded = load_tiny(kind)
    tensor = weight(loaded, name)
    tensor.view(-1)[0] = value
    return LocalEngine(loaded)


def poison(loaded: LoadedModel, bad: Request, good: Sequence[Request]) -> None:
    """Make the embeddings NaN of those tokens that only the request `bad` has.

    Answers may have them too, but for the last token, which is not run.
    """

    def ids(request: Request) -> set[int]:
        encoded = encode(loaded.processor, request.messages, add_generation_prompt=True)
        return set(encoded.input_ids)

    own = ids(bad).difference(*map(ids, good))
    assert own
    loaded.model.get_input_embeddings().weight.data[list(own)] = math.nan


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.multi_modal_projector.linear_1.weight", math.nan),
        ("model.multi_modal_projector.linear_2.bias", -math.inf),
        ("model.language_model.layers.0.self_attn.o_proj.weight", math.inf),
        ("lm_head.weight", math.nan),
    ],
)
def test_no_answer_and_no_score_comes_of_one_bad_weight(
    load_tiny: Load, pictures: Pictures, kind: str, name: str, value: float
) -> None:
    engine = damaged(load_tiny, kind, name, value)
    request = ask("what is it?", [pictures[0]])
    with pytest.raises(NotFiniteError, match="the model's numbers are not finite; try float32"):
        engine.answer([request])
    with pytest.raises(NotFiniteError, match="holds NaN or infinity") as caught:
        list(engine.stream(request))
    assert f"({name} holds" in str(caught.value)
    with pytest.raises(NotFiniteError):
        engine.score_choices([request], [["a cat", "no"]])
    with pytest.raises(NotFiniteError):
        engine.answer([ask("what is it?", [pictures[0]], temperature=0.8, top_p=0.9)])


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_of_a_batch_spoils_no_other(load_tiny: Load, pictures: Pictures, kind: str) -> None:
    whole = [
        ask("red?", [pictures[0]], max_new_tokens=1),
        ask("how many cats?", [pictures[0]], max_new_tokens=1),
        ask("blue!", max_new_tokens=1),
    ]
    expected = LocalEngine(load_tiny(kind)).answer([whole[0], whole[2]])
    loaded = load_tiny(kind)
    poison(loaded, whole[1], [whole[0], whole[2]])
    engine = LocalEngine(loaded)
    outcomes: list[Any] = answer_halving(
        lambda part: engine.answer([request for _, request in part]), list(enumerate(whole))
    )
    assert isinstance(outcomes[1], NotFiniteError)
    same([outcomes[0], outcomes[2]], expected)
    chosen: list[Any] = answer_halving(
        lambda part: engine.score_choices(
            [request for _, request in part], [["red?", "blue!"]] * len(part)
        ),
        list(enumerate(whole)),
    )
    assert isinstance(chosen[1], NotFiniteError)
    assert all(map(math.isfinite, chosen[0] + chosen[2]))


def test_the_engine_answers_the_next_question_as_a_fresh_one(
    load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny()
    good = ask("red?", [pictures[0]], max_new_tokens=1)
    expected = LocalEngine(load_tiny()).answer([good])
    bad = ask("how many cats?", [pictures[0]])
    poison(loaded, bad, [good])
    engine = LocalEngine(loaded)
    with pytest.raises(NotFiniteError):
        engine.answer([good, bad])
    same(engine.answer([good]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_float16_that_overflows_is_told_and_float32_answers(
    load_tiny: Load, pictures: Pictures, kind: str
) -> None:
    request = ask("what is it?", [pictures[0]])

    def engine(dtype: str) -> LocalEngine:
        loaded = load_tiny(kind, dtype=dtype)
        for layer in loaded.model.model.language_model.layers:
            for large in layer.mlp.parameters():
                large.data.mul_(300)
        assert first_not_finite(loaded.model.named_parameters()) is None  # what they compute is not
        return LocalEngine(loaded)

    with pytest.raises(NotFiniteError) as caught:
        engine("float16").answer([request])
    assert str(caught.value) == "the model's numbers are not finite; try float32"
    (answer,) = engine("float32").answer([request])
    assert answer.probability is not None and 0 <= answer.probability <= 1


def test_an_overflow_behind_the_first_tokens_ends_a_stream_with_the_error(
    load_tiny: Load, pictures: Pictures
) -> None:
    loaded = load_tiny()
    request = ask("what is it?", [pictures[0]])
    (whole,) = LocalEngine(loaded).answer([request])
    assert whole.new_tokens > 4
    engine = LocalEngine(loaded)
    pieces = []
    stream = engine.stream(request)
    pieces.append(next(stream))
    loaded.model.get_input_embeddings().weight.data.fill_(math.nan)
    with pytest.raises(NotFiniteError):
        for piece in stream:
            assert isinstance(piece, str)  # no Answer comes of it
            pieces.append(piece)
    assert whole.text.startswith("".join(map(str, pieces)).strip()[:1])


def test_a_token_that_is_ruled_out_is_no_damage(load_tiny: Load, pictures: Pictures) -> None:
    logits = torch.tensor([[1.0, -math.inf, 2.0]])
    assert sample_tokens(logits, [None])[1][0] == pytest.approx(-0.3133, abs=1e-3)
    assert log_probs_of(logits, torch.tensor([1])) == [-math.inf]
    for bad in (math.inf, math.nan):
        logits[0, 0] = bad
        assert not math.isfinite(sample_tokens(logits, [None])[1][0])
        assert all(map(math.isnan, log_probs_of(logits.expand(2, 3), torch.tensor([1, 2]))))
