"""`vqa data preview`: a row as the model gets it, token by token."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.cli import options
from vqa.errors import InputError
from vqa.utils.console import console, one_line

if TYPE_CHECKING:
    from PIL import Image

    from vqa.data.example import Example
    from vqa.data.row_reader import BadRow
    from vqa.inputs.prompts import EncodedPrompt
    from vqa.tools.row_tokens import RowTokenizer

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
    from vqa.loading import quiet_loading

    quiet_loading()
    from vqa.engine.image_tokens import encoder_view
    from vqa.inputs.images import load_image
    from vqa.tools.row_tokens import row_tokenizer
    from vqa.utils.files import atomic_write

    tokenizer = row_tokenizer(model)
    if out is not None and not tokenizer.of_llava:
        raise InputError(
            f"--out {out}: {model} is not LLaVA, and sees pictures in parts of many sizes, which "
            "cannot be written as one"
        )
    processor = tokenizer.processor
    _print(example, tokenizer, data)
    if out is None:
        return
    if not example.images:
        raise InputError(f"{data}:{example.line}: the row has no picture to write to {out}")
    joined = _beside(
        [encoder_view(processor.image_processor, load_image(path)) for path in example.images]
    )
    with atomic_write(out, "wb") as file:
        joined.save(file, "PNG")
    typer.echo(f"{out}: {joined.width} x {joined.height} pixels")


def _find(data: Path, images: Path | None, key: str | None) -> Example:
    """Return the row of that id, else of that number. Raises InputError with a bad row's reason."""
    from vqa.data import read

    keys = options.ids_of(key) if key is not None else []
    number = int(key) if key is not None and key.isdecimal() else 1
    bad: list[BadRow] = []
    numbered: Example | None = None
    for n, example in enumerate(read(data, images, need_answers=False, bad=bad.append), start=1):
        if key is None or (example.id in keys and type(example.id) in map(type, keys)):
            return example
        if n == number and key.isdecimal():
            numbered = example  # unless a later one has it as its id
    if numbered is not None:
        return numbered
    for row in bad:
        if key is None or row.id in keys:
            raise InputError(f"{data}:{row.line}: {row.reason}")
    what = "no rows" if key is None else f"no row with the id or number {key!r}"
    raise InputError(f"{data} has {what}")


def _parts(prompt: EncodedPrompt, image_token: int) -> Iterator[tuple[Part, list[int]]]:
    """Yield runs of tokens of one part."""

    def part(pair: tuple[int, bool]) -> Part:
        token, learned = pair
        return "picture" if token == image_token else "learned" if learned else "prompt"

    pairs = zip(prompt.input_ids, prompt.loss_mask, strict=True)
    for name, run in groupby(pairs, key=part):
        yield name, [token for token, _ in run]


def _print(example: Example, tokenizer: RowTokenizer, data: Path) -> None:
    from rich.text import Text

    out = console()
    prompt, image_token = tokenizer.encode(example), tokenizer.image_token_id
    runs = list(_parts(prompt, image_token))
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
        out.print(
            line + Text(_tokens_text(part, ids, tokenizer), style=_STYLES[part]), soft_wrap=True
        )


def _tokens_text(part: Part, ids: list[int], tokenizer: RowTokenizer) -> str:
    """Write each token in quotes; count those of pictures."""
    decode = tokenizer.processor.tokenizer.decode
    if part == "picture":
        return f"{decode([tokenizer.image_token_id])} x {len(ids)}"
    texts = (decode([token]) for token in ids)
    return " ".join(repr(text) for text in texts)


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Join several pictures side by side."""
    from PIL import Image

    width, height = sum(p.width for p in pictures), max(p.height for p in pictures)
    joined = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width
    return joined
