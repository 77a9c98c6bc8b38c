"""What is tried on each tiny vision-language model: by the tests, and by the table of the docs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.vlm_architectures import ARCHITECTURES, Architecture
from vqa.answering import Answer, Request, SamplingParams
from vqa.engine import GenerateAnswerer
from vqa.engine.detokenizer import decode_completion
from vqa.errors import InputError
from vqa.inputs.processor_inputs import completion_ids, prepare_inputs
from vqa.inputs.prompts import Message
from vqa.loading import load
from vqa.models.image_text import load_config_and_processor

NEW = 6  # tokens of an answer


def noise(width: int, height: int, seed: int) -> Image.Image:
    """A picture of noise."""
    generator = torch.Generator().manual_seed(seed)
    shape = (height, width, 3)
    return Image.fromarray(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()
    )


PICTURES = (noise(40, 50, 1), noise(90, 40, 2), noise(31, 97, 3))
ONE = Message("user", "How many dogs are in the garden?", PICTURES[:1])
TWO = Message("user", "is it red?", PICTURES[1:])
EARLIER = (Message("user", "what is in it?", PICTURES[:1]), Message("assistant", "a cat"))


def asked(*messages: Message, **settings: Any) -> Request:
    """A request for a short greedy answer."""
    return Request(messages, SamplingParams(**{"max_new_tokens": NEW} | settings))


@dataclass
class Case:
    """A tiny model behind the answerer, and the same by transformers alone."""

    name: str
    directory: Path

    @property
    def kind(self) -> Architecture:
        """Its row in the table."""
        return ARCHITECTURES[self.name]

    @cached_property
    def answerer(self) -> GenerateAnswerer:
        """The model as every command has it."""
        answerer = load(str(self.directory), device="cpu", dtype="float32")
        assert isinstance(answerer, GenerateAnswerer)
        return answerer

    @cached_property
    def own_processor(self) -> Any:
        """The processor as the answerer has it."""
        return load_config_and_processor(str(self.directory))[1]

    @cached_property
    def processor(self) -> Any:
        """The processor as transformers loads it."""
        return AutoProcessor.from_pretrained(self.directory)

    @cached_property
    def model(self) -> Any:
        """The model as transformers loads it."""
        model = AutoModelForImageTextToText.from_pretrained(self.directory, dtype=torch.float32)
        return model.eval()

    def official_inputs(self, *messages: Message) -> dict[str, Any]:
        """Prepare a conversation with transformers' own chat template and processor."""
        pictures = [image for message in messages for image in message.images]
        if self.kind.template is None:
            (message,) = messages
            text = self.processor.image_token * len(pictures) + message.text
            inputs = dict(self.processor(images=[pictures], text=[text], return_tensors="pt"))
            inputs.pop("labels", None)  # for training
            return inputs
        conversation = [
            {
                "role": message.role,
                "content": [
                    *({"type": "image", "image": image} for image in message.images),
                    {"type": "text", "text": message.text},
                ],
            }
            for message in messages
        ]
        options = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
        inputs = self.processor.apply_chat_template(conversation, return_tensors="pt", **options)
        return dict(inputs)

    def plain(self, *messages: Message) -> list[int]:
        """Answer greedily by `generate` and nothing else; return the ids."""
        inputs = self.official_inputs(*messages)
        ends = self.answerer.end_ids
        pad = self.processor.tokenizer.pad_token_id
        options = {"do_sample": False, "max_new_tokens": NEW, "pad_token_id": pad}
        ids = self.model.generate(**inputs, eos_token_id=sorted(ends), **options)[0]
        return ids[inputs["input_ids"].shape[1] :].tolist()


def ability(case: Case, *messages: Message) -> bool:
    """Tell whether a conversation is answered; what is not has to be refused in one line."""
    try:
        (answer,) = case.answerer.answer([asked(*messages)])
    except InputError as error:
        assert "\n" not in str(error)
        return False
    assert answer.new_tokens and answer.probability
    return True


ABILITIES: dict[str, tuple[Message, ...]] = {
    "several pictures": (TWO,),
    "earlier turns": (*EARLIER, Message("user", "and where?")),
    "system prompt": (Message("system", "You answer questions."), ONE),
    "no picture": (Message("user", "yes, or no?"),),
}


def conversations(case: Case) -> list[tuple[Message, ...]]:
    """List all that a model can be asked."""
    able = [messages for name, messages in ABILITIES.items() if name not in case.kind.lacks]
    return [(ONE,), *able]


def equals_generate(case: Case) -> None:
    """Greedy answers are those of `generate` on the same inputs, which are the official ones."""
    for messages in conversations(case):
        inputs = prepare_inputs(case.own_processor, [messages]).tensors
        official = case.official_inputs(*messages)
        assert set(inputs) == set(official)
        for key, value in official.items():
            torch.testing.assert_close(inputs[key], value, rtol=0, atol=0)
        (answer,) = case.answerer.answer([asked(*messages)])
        ids = case.plain(*messages)
        assert answer.new_tokens == len(ids)
        assert answer.text == _text(case, ids)


def _text(case: Case, ids: list[int]) -> str:
    while ids and ids[-1] in case.answerer.end_ids:
        ids = ids[:-1]
    return decode_completion(case.processor.tokenizer, ids)


def batch_equals_single(case: Case) -> None:
    """Rows of different lengths, shapes and numbers of pictures answer in a batch as alone."""
    requests = [
        asked(Message("user", "a cup", PICTURES[1:2])),
        *(asked(*messages) for messages in conversations(case)),
        asked(Message("user", "what is on the table, and who looks at it?", PICTURES[2:])),
    ]
    alone = [case.answerer.answer([request])[0] for request in requests]
    assert len({answer.text for answer in alone}) > len(alone) // 2  # or nothing were compared
    for single, answer in zip(alone, case.answerer.answer(requests), strict=True):
        assert same(single, answer)
        assert math.isclose(single.probability or 0, answer.probability or 0, rel_tol=2e-3)


def stays_text(case: Case) -> None:
    """Control tokens that a user types are text: no more of their ids, and read back as typed."""
    tokenizer = case.processor.tokenizer
    tokens = [*case.kind.control, *tokenizer.all_special_tokens, "<image>", "[INST]", "<|im_end|>"]
    typed = f"is {' '.join(dict.fromkeys(tokens))} red?"
    ids, plain = (
        prepare_inputs(
            case.own_processor, [(Message("user", text, PICTURES[:1]),)]
        ).tensors["input_ids"][0].tolist()
        for text in (typed, "is it red?")
    )  # fmt: skip
    control = {n for n, token in tokenizer.added_tokens_decoder.items() if token.special}
    assert [n for n in ids if n in control] == [n for n in plain if n in control]
    read = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert typed.replace(" ", "") in read.replace(" ", "")


def streams(case: Case) -> None:
    """A stream's pieces are the whole answer; a cancelled one ends."""
    request = asked(ONE)
    (whole,) = case.answerer.answer([request])
    *pieces, last = case.answerer.stream(request)
    assert isinstance(last, Answer) and same(last, whole)
    assert "".join(map(str, pieces)) == whole.text
    cancel = Event()
    cancel.set()
    (last,) = case.answerer.stream(request, cancel)
    assert isinstance(last, Answer) and last.finish_reason == "cancelled" and not last.text


def scores_choices(case: Case) -> None:
    """Scores are the log probabilities of the choices by one forward pass over each."""
    texts = ["a cat", "two dogs, in the garden"]
    (scores,) = case.answerer.score_choices([asked(ONE)], [texts])
    searched = replace(asked(ONE), settings=SamplingParams(num_beams=3))
    assert case.answerer.score_choices([searched], [texts])[0] == scores
    inputs = case.official_inputs(ONE)
    length = inputs["input_ids"].shape[1]
    for text, score in zip(texts, scores, strict=True):
        ids = completion_ids(case.own_processor, (ONE,), text)
        assert ids[-1] in case.answerer.end_ids
        longer = {name: _longer(name, value, length, ids) for name, value in inputs.items()}
        if case.name == "paligemma":  # which reads a prompt in both directions
            longer["token_type_ids"][:, length:] = 1
        with torch.inference_mode():
            logits = case.model(**longer).logits[0, length - 1 : -1].double()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum()
        assert math.isclose(score, float(expected), rel_tol=1e-4, abs_tol=1e-3)


def _longer(name: str, value: Any, length: int, ids: list[int]) -> Any:
    """Put a completion behind an input that has a value for each token."""
    if name == "input_ids":
        return torch.cat([value, torch.tensor([ids])], 1)
    if not isinstance(value, torch.Tensor) or value.shape[:2] != (1, length):
        return value
    row = value[:, -1:] if name in ("attention_mask", "cross_attention_mask") else 0 * value[:, -1:]
    return torch.cat([value, *[row] * len(ids)], 1)


def same(left: Answer, right: Answer) -> bool:
    """Tell whether two answers are the same, times and last digits aside."""
    keys = ("text", "finish_reason", "image_tokens", "prompt_tokens", "new_tokens")
    return all(getattr(left, key) == getattr(right, key) for key in keys)


CHECKS: dict[str, Callable[[Case], None]] = {
    "as `generate`": equals_generate,
    "batches": batch_equals_single,
    "typed tokens": stays_text,
    "streams": streams,
    "choices": scores_choices,
}
