"""`vqa data preview`: a row as the model gets it, token by token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vqa.cli import options
from vqa.cli.tables import console, one_line
from vqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from vqa.data.example import Example
    from vqa.data.rows import BadRow
    from vqa.prompts import EncodedPrompt

Part = Literal["prompt", "picture", "learned"]
_MEANING: dict[Part, str] = {
    "prompt": "is given to the model",
    "picture": "image tokens, which stand for a picture",
    "learned": "is what training teaches it to write",
}
_STYLES: dict[Part, str] = {"prompt": "dim", "picture": "cyan", "learned": "bold green"}


def preview(
    data: Annotated[Path, typer.Argument(metavar="FILE", help="Data of any format that is read.")],
    images: options.Images = None,
    row: Annotated[
        str | None,
        typer.Option(metavar="N|ID", help="The row of this id, else the N-th (default: first)."),
    ] = None,
    model: options.Model = "embedded",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the pictures as the model sees them (PNG)."),
    ] = None,
) -> None:
    """Show what of a row is prompt, what is picture and what is learned."""
    example = _find(data, images, row)
    if out is not None:
        options.check_out("--out", out, (data, *map(Path, example.images)))
    options.quiet_loading()
    from vqa.checkpoints import look
    from vqa.files import atomic_write

    _, processor = look(model)
    prompt = _encoded(example, processor)
    _print(example, prompt, processor, data)
    if out is None:
        return
    if not example.images:
        raise InputError(f"{data}:{example.line}: the row has no picture to write to {out}")
    seen = _beside(_as_seen(picture, processor.image_processor) for picture in _open(example))
    with atomic_write(out, "wb") as file:
        seen.save(file, "PNG")
    typer.echo(f"{out}: {seen.width} x {seen.height} pixels")


def _find(data: Path, images: Path | None, wanted: str | None) -> Example:
    """The row of that id, else of that number. Raises InputError, with the reason of a bad one."""
    from vqa.data import read

    keys = _keys(wanted)
    number = int(wanted) if wanted is not None and wanted.isdecimal() else 1
    bad: list[BadRow] = []
    numbered: Example | None = None
    for n, example in enumerate(read(data, images, need_answers=False, bad=bad.append), start=1):
        if wanted is None or (example.id in keys and type(example.id) in map(type, keys)):
            return example
        if n == number and wanted.isdecimal():
            numbered = example  # unless a later one has it as its id
    if numbered is not None:
        return numbered
    for row in bad:
        if wanted is None or row.id in keys:
            raise InputError(f"{data}:{row.line}: {row.reason}")
    what = "no rows" if wanted is None else f"no row with the id or number {wanted!r}"
    raise InputError(f"{data} has {what}")


def _keys(wanted: str | None) -> list[str | int]:
    """The ids that an option may mean: it is given as JSON or as text."""
    if wanted is None:
        return []
    try:
        parsed = json.loads(wanted)
    except (ValueError, RecursionError):
        return [wanted]
    is_id = isinstance(parsed, str | int) and not isinstance(parsed, bool)
    return [wanted, parsed] if is_id else [wanted]


def _encoded(example: Example, processor: Any) -> EncodedPrompt:
    from PIL import Image

    from vqa.prompts import encode
    from vqa.turns import encode_row, messages

    if example.answers:
        return encode_row(example, processor)
    placeholders = [Image.new("RGB", (1, 1))] * len(example.images)
    asked = messages(example, placeholders, answered=False)
    return encode(processor, asked, add_generation_prompt=True)


def _parts(prompt: EncodedPrompt, image_token: int) -> Iterator[tuple[Part, list[int]]]:
    """Runs of tokens of one part."""

    def part(pair: tuple[int, bool]) -> Part:
        token, learned = pair
        return "picture" if token == image_token else "learned" if learned else "prompt"

    pairs = zip(prompt.input_ids, prompt.learned, strict=True)
    for found, run in groupby(pairs, key=part):
        yield found, [token for token, _ in run]


def _print(example: Example, prompt: EncodedPrompt, processor: Any, data: Path) -> None:
    from rich.text import Text

    out = console()
    runs = list(_parts(prompt, processor.image_token_id))
    counts = {name: sum(len(ids) for part, ids in runs if part == name) for name in _MEANING}
    key = one_line(json.dumps(example.id, ensure_ascii=False), 60)
    out.print(f"{data}:{example.line}: row {key}, {len(prompt.input_ids)} tokens", soft_wrap=True)
    for name in example.images:
        out.print(f"picture: {one_line(name)}", soft_wrap=True)
    for part, meaning in _MEANING.items():
        line = Text(f"{part:8}", style=_STYLES[part])
        out.print(line + Text(f" {counts[part]} tokens: {meaning}", style="default"))
    out.print()
    for part, ids in runs:
        line = Text(f"{part:8} ", style=_STYLES[part])
        out.print(line + Text(_shown(part, ids, processor), style=_STYLES[part]), soft_wrap=True)


def _shown(part: Part, ids: list[int], processor: Any) -> str:
    """Each token in quotes; those of pictures counted."""
    if part == "picture":
        return f"{processor.image_token} x {len(ids)}"
    texts = (processor.tokenizer.decode([token]) for token in ids)
    return " ".join(repr(text) for text in texts)


def _open(example: Example) -> Iterator[Image.Image]:
    from vqa.images import load_image

    return (load_image(path) for path in example.images)


def _as_seen(picture: Image.Image, image_processor: Any) -> Image.Image:
    """The picture after the image processor, with its normalisation undone."""
    import numpy as np
    from PIL import Image

    prepared = image_processor(picture, return_tensors="pt")["pixel_values"][0]  # [3, H, W]
    pixels = np.asarray(prepared, dtype=np.float32)
    if image_processor.do_normalize:
        mean = np.asarray(image_processor.image_mean, dtype=np.float32)[:, None, None]
        std = np.asarray(image_processor.image_std, dtype=np.float32)[:, None, None]
        pixels = pixels * std + mean
    if image_processor.do_rescale:
        pixels = pixels / image_processor.rescale_factor
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _beside(pictures: Iterator[Image.Image]) -> Image.Image:
    """Several pictures side by side."""
    from PIL import Image

    found = list(pictures)
    width, height = sum(p.width for p in found), max(p.height for p in found)
    joined = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in found:
        joined.paste(picture, (left, 0))
        left += picture.width
    return joined
