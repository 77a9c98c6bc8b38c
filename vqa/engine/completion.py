"""What all decoding in this process shares: where it ends, what an answer has, how it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vqa.answering import Answer, Seconds, answer_probability
from vqa.engine.detokenizer import decode_completion
from vqa.engine.sampling import SequenceState
from vqa.errors import InputError, NotFiniteError, VQAError
from vqa.inputs.prompts import end_of_turn_ids
from vqa.models.finite import first_not_finite
from vqa.models.memory import is_out_of_memory
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from vqa.models.checkpoints import LoadedModel
    from vqa.reading import TextReader


@dataclass
class Timer:
    """Where the time of one answer, or of a batch, goes; seconds."""

    began: float  # by `perf_counter`
    encode: float = 0.0
    first_token: float = 0.0

    def seconds(self) -> Seconds:
        """Return the times so far; an answer without tokens has its total as its first."""
        total = perf_counter() - self.began
        return Seconds(encode=self.encode, first_token=self.first_token or total, total=total)


def identity_of(loaded: LoadedModel, reader: TextReader | None) -> str:
    """Return what answers depend on: the weights, seconds of hashing at first, and what is read."""
    if reader is None:
        return loaded.identity
    return fingerprint.of_json([loaded.identity, reader.identity])


def end_ids(loaded: LoadedModel) -> frozenset[int]:
    """List the ids that end a completion: the template's ends of turn, and the checkpoint's own."""
    named = loaded.model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [] if named is None else [named]
    return frozenset([*end_of_turn_ids(loaded.processor), *listed])


def check_context(tokens: int, image_tokens: int, context: int | None) -> None:
    """Raise InputError where a prompt leaves no room for an answer in a model's context."""
    if context is not None and tokens >= context:
        raise InputError(
            f"The conversation takes {tokens} tokens, {image_tokens} of them for pictures; the "
            f"model holds {context}: use fewer pictures, a shorter text, or begin a new "
            "conversation."
        )


def check_choice_context(tokens: int, context: int | None) -> None:
    """Raise InputError where a prompt with a choice does not fit into a model's context."""
    if context is not None and tokens > context:
        raise InputError(
            f"The conversation with a choice takes {tokens} tokens; the model holds {context}: "
            "use fewer pictures, a shorter text or shorter choices."
        )


def answer_of(
    sequence: SequenceState,
    tokenizer: Any,
    seconds: Seconds,
    image_tokens: int,
    prompt_tokens: int,
    hints: tuple[str, ...],
) -> Answer:
    """Make the answer of a sequence, wherever it has ended."""
    reason = sequence.finish_reason or "cancelled"
    ids = sequence.ids[:-1] if reason == "stop" else sequence.ids
    text = decode_completion(tokenizer, ids)
    sure = answer_probability(math.fsum(sequence.log_probs), text) if sequence.ids else None
    return Answer(
        text=text,
        finish_reason=reason,
        probability=sure,
        image_tokens=image_tokens,
        prompt_tokens=prompt_tokens,
        new_tokens=len(sequence.ids),
        seconds=seconds,
        hints=hints,
    )


def in_one_piece(answer: Answer) -> Iterator[str | Answer]:
    """Yield the whole text of an answer, if it has any, and the answer: as a stream does."""
    if answer.text:
        yield answer.text
    yield answer


@contextmanager
def explain_failures(damage_of: Callable[[], str]) -> Iterator[None]:
    """Raise errors with advice where the device's memory is full, or numbers are not finite."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(damage_of()) from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise VQAError(
            "The memory is full: ask fewer questions at once, use a smaller or "
            "quantized model, or the CPU."
        ) from error


def describe_damaged_weight(model: Any) -> str:
    """Name the weight that is not finite, if one is; all weights are read for it.

    Float32 then helps only where the weight was cut to 16 bits.
    """
    name = first_not_finite(model.named_parameters())
    if name is None:
        return ""
    return f"{name} holds NaN or infinity: where float32 is no help, get the model's files anew"
