"""lmms-eval answers its tasks with whatever is loaded here: `python -m lmms_eval --model vqa ...`.

    pip install '.[lmms]'
    python -m lmms_eval --model vqa --model_args pretrained=runs/mine,quantize=4bit --tasks pope

The model's arguments are those of `vqa.loading.load`, with the model as `pretrained`. lmms-eval
finds this file by the entry point `lmms_eval.models` of the package. Tasks whose answers are
generated are answered, with several pictures and turns, in one process; those that compare
likelihoods, show videos or sound, or ask in rounds, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from PIL.Image import Image

from vqa.answering import Answer, Request, SamplingParams
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.loading import load
from vqa.reading import ReadMode
from vqa.serve.chat_request import ChatMessage, ImagePart, TextPart
from vqa.serve.stop_texts import StopTexts
from vqa.utils.progress import progress_bar

MAX_NEW_TOKENS = 1024  # where a task names no number


class VQAModel(lmms):
    """A model of this library, as lmms-eval's chat models are."""

    is_simple = False  # it takes messages

    def __init__(
        self,
        pretrained: str = "embedded",
        adapter: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantize: Literal["4bit", "8bit"] | None = None,
        read: ReadMode = "never",
        batch_size: int | str = 16,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or not int(batch_size):
            raise InputError(f"batch_size is {batch_size}: a number is needed.")
        self.batch_size = int(batch_size)
        self._answerer = load(pretrained, adapter, device, dtype, quantize, read)

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer requests in batches; each is cut before the first of its task's stop texts."""
        results: list[GenerationResult] = []
        with progress_bar("answered") as update:
            for start in range(0, len(requests), self.batch_size):
                batch = requests[start : start + self.batch_size]
                answers = self._answerer.answer([self._request(each) for each in batch])
                for instance, answer in zip(batch, answers, strict=True):
                    context, _, generation = instance.args[:3]
                    result = _result(answer, generation.get("until"))
                    self.cache_hook.add_partial(
                        "generate_until", (context, generation), result.text
                    )
                    results.append(result)
                update(len(results), len(requests))
        return results

    def _request(self, instance: Instance) -> Request:
        _, to_messages, generation, row, task, split = instance.args
        messages = to_messages(self.task_dict[task][split][row])
        return Request(tuple(map(_message, messages)), _settings(generation))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refuse: a chat model's task generates its answers."""
        raise InputError("tasks that compare likelihoods are not answered, only generated ones")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refuse: what is asked next depends on the answer."""
        raise InputError("tasks that ask in rounds are not answered")


def manifest() -> ModelManifest:
    """Name the model to lmms-eval."""
    return ModelManifest("vqa", chat_class_path=f"{__name__}.{VQAModel.__name__}")


def _message(message: Mapping[str, Any]) -> Message:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    body = ChatMessage(role=message["role"], content=list(map(_part, parts)))
    return body.to_message(_pictures(parts))


def _part(part: Mapping[str, Any]) -> TextPart | ImagePart:
    if part["type"] == "text":
        return TextPart(type="text", text=part["text"])
    if part["type"] != "image":
        raise InputError(f"a task with {part['type']} is not answered, only pictures and text")
    return ImagePart(type="image_url", image_url="")


def _pictures(parts: Iterable[Mapping[str, Any]]) -> Iterator[Image]:
    return (load_image(part["url"]) for part in parts if part["type"] == "image")


def _settings(generation: Mapping[str, Any]) -> SamplingParams:
    """Read a task's `generation_kwargs`; without `do_sample` its temperature decides."""
    sampled = generation.get("do_sample", True)
    return SamplingParams(
        max_new_tokens=generation.get("max_new_tokens") or MAX_NEW_TOKENS,
        temperature=float(generation.get("temperature") or 0) if sampled else 0.0,
        top_p=float(generation.get("top_p") or 1),
        num_beams=generation.get("num_beams") or 1,
    )


def _result(answer: Answer, until: str | Sequence[str] | None) -> GenerationResult:
    stops = StopTexts([text for text in ([until] if isinstance(until, str) else until or ())
                       if text])  # fmt: skip
    text = stops.add(answer.text) + stops.flush()
    return GenerationResult(text, TokenCounts(answer.prompt_tokens, answer.new_tokens))
