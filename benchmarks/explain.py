"""Do the maps of `vqa ask --explain` lie on what was asked about, and does the answer rest on it?

    python benchmarks/explain.py --rows MIX/val/presence.jsonl --images MIX --out FILE.jsonl \
        --boxes DATA/coco/instances.json --boxes DATA/voc/instances.json

"Is there a cat in the image?" is asked about pictures (those of the rows) in which boxes say that
there is one. Of questions that are answered with yes, the answer is explained by attention, and for
the first of them by occlusion too. Printed are

- pointing game (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x): how often the map's highest
  place lies in a box;
- share of the map that lies in boxes;
- deletion and insertion (vqa/explain/faithfulness.py), for the questions explained in both ways;

beside Gaussians in the middle of the picture, where things mostly are, and random maps; also apart
for things that are small in the picture, where its middle helps little. An interrupted run goes on.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from vqa.answering import Request, Settings
from vqa.chat import Conversation
from vqa.checkpoints import Loaded, load
from vqa.data import read
from vqa.data.questions.words import with_article
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.explain import GRID
from vqa.explain.attention import attention
from vqa.explain.covering import pictures_of, reduced, with_pictures
from vqa.explain.faithfulness import deletion_and_insertion
from vqa.explain.occlusion import occlusion
from vqa.explain.regions import Map, seen
from vqa.files import append_jsonl, open_jsonl, read_jsonl
from vqa.images import load_image

Box = tuple[float, float, float, float]  # left, top, width, height in shares of the picture
GAUSSIANS = (0.25, 0.15)  # standard deviations, in shares of a side
SMALL = 0.2  # things whose boxes cover less of the picture


@dataclass(frozen=True)
class Thing:
    """A thing that is marked in a picture, and asked for."""

    path: Path
    name: str
    boxes: tuple[Box, ...]

    @property
    def id(self) -> str:
        """What it is called in the file of results."""
        return f"{self.path.name}/{self.name}"


def main(
    rows: Annotated[Path, typer.Option(help="Rows whose pictures are asked about.")],
    images: Annotated[Path, typer.Option(help="Root of the rows' pictures.")],
    boxes: Annotated[list[Path], typer.Option(help="Boxes in COCO's format; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where results go; what is there is kept.")],
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    questions: Annotated[int, typer.Option(min=2, help="Explained by attention.")] = 200,
    occluded: Annotated[int, typer.Option(min=2, help="Also by occlusion, and scored.")] = 40,
) -> None:
    """Measure and print."""
    disable_progress_bar()
    try:
        with open_jsonl(out) as file:
            measure(things(rows, images, boxes), out, file, model, questions, occluded)
        Console(width=150).print(table([row for _, row in read_jsonl(out)]))
    except VQAError as error:
        raise SystemExit(f"explain.py: {error}") from error


def measure(
    asked: list[Thing], out: Path, file: IO[str], model: str, questions: int, occluded: int
) -> None:
    """Ask for things, explain the answers that are right, and write down what each map reaches."""
    known = {(row["id"], row["map"]): row for _, row in read_jsonl(out)}
    loaded = load(model)
    if {row["model"] for row in known.values() if "model" in row} - {loaded.fingerprint}:
        raise VQAError(f"{out} holds results of other weights: name another --out")
    engine = LocalEngine(loaded, prefix_bytes=64 << 20)

    def request_of(thing: Thing) -> Request:
        question = f"Is there {with_article(thing.name)} in the image?"
        return Conversation().ask(question, [load_image(thing.path)]).request(Settings(8))

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("attention", total=questions)
        right: list[Thing] = []
        for thing in asked:
            if len(right) == questions:
                break
            if (thing.id, "") not in known:
                request = request_of(thing)
                (answer,) = engine.answer([request])
                yes = bool(re.fullmatch(r"yes\W*", answer.text, re.I))
                rows = by_attention(loaded, thing, request) if yes else []
                about = {"id": thing.id, "map": "", "right": yes}
                append_jsonl(file, {**about, "model": loaded.fingerprint}, *rows)
                known[thing.id, ""] = {"right": yes}
            if known[thing.id, ""]["right"]:
                right.append(thing)
                progress.advance(bar)
        bar = progress.add_task("occlusion", total=occluded)
        for thing in right[:occluded]:
            if (thing.id, "occlusion") not in known:
                append_jsonl(file, *by_occlusion(engine, thing, request_of(thing)))
            progress.advance(bar)


def by_attention(loaded: Loaded, thing: Thing, request: Request) -> list[dict[str, Any]]:
    """What the map from attention reaches, and what maps reach that know nothing."""
    (values,) = attention(loaded, request, "yes")
    maps = {"attention": values, "random": chance(thing, values.shape)}
    for sigma in GAUSSIANS:
        maps[f"middle, Gaussian of {sigma}"] = gaussian(values.shape, sigma)
    return [reached(loaded, thing, request, kind, one) for kind, one in maps.items()]


def by_occlusion(engine: LocalEngine, thing: Thing, request: Request) -> list[dict[str, Any]]:
    """The same of occlusion, and deletion and insertion by three kinds of maps."""
    loaded: Any = engine.loaded
    (picture,) = pictures_of(request)
    small = with_pictures(request, [reduced(picture)])
    regions = [seen(loaded.processor.image_processor, picture.size, loaded.processor.patch_size)]
    maps = {"occlusion": occlusion(engine, small, "yes", regions, GRID, lambda _: None)[0]}
    maps["attention"] = attention(loaded, request, "yes")[0]
    maps["random"] = chance(thing, maps["attention"].shape)
    rows = [
        {"id": thing.id, "map": f"{kind}, scores", "deletion": deletion, "insertion": insertion}
        for kind, one in maps.items()
        for deletion, insertion in deletion_and_insertion(
            engine, small, "yes", regions, [[one]], lambda _: None
        )
    ]
    return [*rows, reached(loaded, thing, request, "occlusion", maps["occlusion"])]


def reached(
    loaded: Any, thing: Thing, request: Request, kind: str, values: np.ndarray
) -> dict[str, Any]:
    """Whether the highest place of a map lies in a box, and the share of the map that does."""
    (picture,) = pictures_of(request)
    inside = in_boxes(thing.boxes, picture.size)
    region = seen(loaded.processor.image_processor, picture.size, loaded.processor.patch_size)
    over = Map(values, region, picture.size).over_picture()  # [H, W]
    share = float(over[inside].sum() / max(over.sum(), 1e-12))
    hit = bool(inside.flat[over.argmax()])
    found = {"hit": hit, "share": share, "small": bool(inside.mean() < SMALL)}
    return {"id": thing.id, "map": kind, **found}


def things(rows: Path, images: Path, boxes: list[Path]) -> list[Thing]:
    """All marked things in the rows' pictures, in an order by chance."""
    marked = marked_things(boxes)
    paths = {Path(example.images[0]) for example in read(rows, images) if example.images}
    pairs = sorted((path, name) for path in paths for name in marked.get(path.name, {}))
    random.Random(0).shuffle(pairs)
    return [Thing(path, name, tuple(marked[path.name][name])) for path, name in pairs]


def marked_things(files: list[Path]) -> dict[str, dict[str, list[Box]]]:
    """Boxes by the picture's file name and the thing's name; crowds are left out."""
    found: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        data = json.loads(file.read_text(encoding="utf-8"))
        names = {one["id"]: one["name"] for one in data["categories"]}
        pictures = {one["id"]: one for one in data["images"]}
        for one in data["annotations"]:
            picture = pictures[one["image_id"]]
            if not one.get("iscrowd"):
                left, top, width, height = one["bbox"]
                across, down = picture["width"], picture["height"]
                box = (left / across, top / down, width / across, height / down)
                found[Path(picture["file_name"]).name][names[one["category_id"]]].append(box)
    return found


def in_boxes(boxes: tuple[Box, ...], size: tuple[int, int]) -> np.ndarray:
    """Pixels that lie in any box [H, W]."""
    width, height = size
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    inside = np.zeros((height, width), bool)
    for left, top, across, down in boxes:
        rows, columns = (y >= top) & (y <= top + down), (x >= left) & (x <= left + across)
        inside |= rows[:, None] & columns[None, :]
    return inside


def gaussian(shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """A map that is highest in the middle."""
    down, along = (
        np.exp(-(((np.arange(cells) + 0.5) / cells - 0.5) ** 2) / 2 / sigma**2) for cells in shape
    )
    return np.outer(down, along)


def chance(thing: Thing, shape: tuple[int, ...]) -> np.ndarray:
    """A random map, the same for a thing each time."""
    return np.random.default_rng(list(thing.id.encode())).random(shape)


def table(rows: list[dict[str, Any]]) -> Table:
    """A line for each kind of map, for all questions and for those of occlusion."""
    occluded = {row["id"] for row in rows if row["map"] == "occlusion"}
    heads = ("map", "questions", "pointing game", "share in boxes")
    shown = Table(*heads, *(f"small: {head}" for head in heads[1:]), "deletion", "insertion")
    kinds = [row["map"] for row in rows if "hit" in row]
    for ids, name in ((None, ""), (occluded, ", those of occlusion")):
        for kind in dict.fromkeys(kinds):
            found = [r for r in rows if r["map"] == kind and (ids is None or r["id"] in ids)]
            if not found or (kind == "occlusion" and ids is None):
                continue
            scored = [r for r in rows if r["map"] == f"{kind}, scores"] if ids is not None else []
            small = [r for r in found if r["small"]]
            cells = [f"{kind}{name}"]
            for part in (found, small):
                cells += [str(len(part)), percent(part, "hit"), percent(part, "share")]
            for score in ("deletion", "insertion"):
                cells.append(f"{np.mean([r[score] for r in scored]):.3f}" if scored else "")
            shown.add_row(*cells)
    return shown


def percent(rows: list[dict[str, Any]], key: str) -> str:
    """The mean in percent."""
    return f"{100 * np.mean([row[key] for row in rows]):.1f} %" if rows else ""


if __name__ == "__main__":
    typer.run(main)
