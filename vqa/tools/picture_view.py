"""What a model gets of a picture: its size on the way, its tokens, and what is answered of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.engine.image_tokens import encoder_view
from vqa.inputs.prompts import Message
from vqa.inputs.tiles import choose_grid
from vqa.utils.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqa.models.checkpoints import LoadedModel

_QUESTION = "What is in the picture?"


def examine_picture(loaded: LoadedModel, picture: Image, out: Path | None) -> dict[str, str]:
    """Follow a picture into a model; write what the vision encoder gets to `out`."""
    image_processor = loaded.processor.image_processor
    view = encoder_view(image_processor, picture)
    rows, columns = choose_grid(image_processor, picture.size)
    tiles = f", in {rows} x {columns} tiles and as a whole" if rows * columns > 1 else ""
    if out is not None:
        with atomic_write(out, "wb") as file:
            view.save(file, "PNG")
    request = Request((Message("user", _QUESTION, (picture,)),), SamplingParams(max_new_tokens=32))
    (answer,) = LocalEngine(loaded).answer([request])
    return {
        "as it is opened": f"{picture.width} x {picture.height} pixels",
        "as the vision encoder gets it": f"{view.width} x {view.height} pixels{tiles}",
        "as the language model gets it": f"{answer.image_tokens} tokens",
        _QUESTION: answer.text,
        "first token": f"after {answer.seconds.first_token:.2f} s",
        "computed in": f"{loaded.model.dtype} on {loaded.model.device}".replace("torch.", ""),
    }
