"""Answer questions about pictures: chat, fine-tune and evaluate.

    from vqa import ask, load

    model = load("embedded")
    print(ask(model, "What animal is this?", "examples/cat.jpg").text)

These names are the public face; everything else may change. Importing this package costs next to
nothing: torch and transformers are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqa.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from vqa.answering import Answer, Answerer

__all__ = ["__version__", "ask", "load"]


def load(model: str = "embedded", **options: Any) -> Answerer:
    """Load a model that answers: `embedded`, a model's or run's directory, or a hub id.

    `options` are those of `vqa.loading.load`: adapter, device, dtype, quantize, read, max_batch,
    prefix_bytes. Raises `vqa.errors.InputError` for what is no model.
    """
    from vqa.loading import load

    return load(model, **options)


def ask(
    model: Answerer, question: str, *pictures: str | Path | Image.Image, **settings: Any
) -> Answer:
    """Ask one question about pictures, greedily unless `settings` say otherwise.

    `settings` are those of `vqa.answering.SamplingParams`: max_new_tokens, temperature, top_p,
    seed, num_beams, length_penalty. For several turns see `vqa.chat.Conversation`. Raises
    `vqa.errors.InputError` for a picture that cannot be read.
    """
    from vqa.answering import SamplingParams
    from vqa.chat import Conversation

    talk = Conversation().ask(question, pictures)
    return model.answer([talk.request(SamplingParams(**settings))])[0]
