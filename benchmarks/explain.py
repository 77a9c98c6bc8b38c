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

from training.mix.questions.words import with_article
from vqa.answering import Request, SamplingParams
from vqa.chat import Conversation
from vqa.data import read
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.explain import GRID
from vqa.explain.attention import attention_maps
from vqa.explain.covering import downscaled, with_pictures
from vqa.explain.faithfulness import deletion_and_insertion
from vqa.explain.occlusion import occlusion_maps
from vqa.explain.regions import RelevanceMap, visible_region
from vqa.inputs.images import load_image
from vqa.models.checkpoints import LoadedModel, load
from vqa.utils.files import append_jsonl, open_jsonl, read_jsonl

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
        """Return its name in the file of results."""
        return f"{self.path.name}/{self.name}"


def main(
    rows: Annotated[Path, typer.Option(help="Rows whose pictures are asked about.")],
    images: Annotated[Path, typer.Option(help="Root of the rows' pictures.")],
    boxes: Annotated[list[Path], typer.Option(help="Boxes in COCO's format; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Where results go; what is there stays.")],
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
    candidates: list[Thing], out: Path, file: IO[str], model: str, questions: int, occluded: int
) -> None:
    """Ask for things, explain the answers that are right, and write down what each map reaches."""
    results = {(row["id"], row["map"]): row for _, row in read_jsonl(out)}
    loaded = load(model)
    if {row["model"] for row in results.values() if "model" in row} - {loaded.fingerprint}:
        raise VQAError(f"{out} holds results of other weights: name another --out")
    engine = LocalEngine(loaded, prefix_bytes=64 << 20)

    def request_of(thing: Thing) -> Request:
        question = f"Is there {with_article(thing.name)} in the image?"
        return Conversation().ask(question, [load_image(thing.path)]).request(SamplingParams(8))

    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("attention", total=questions)
        right: list[Thing] = []
        for thing in candidates:
            if len(right) == questions:
                break
            if (thing.id, "") not in results:
                request = request_of(thing)
                (answer,) = engine.answer([request])
                yes = bool(re.fullmatch(r"yes\W*", answer.text, re.I))
                rows = by_attention(loaded, thing, request) if yes else []
                about = {"id": thing.id, "map": "", "right": yes}
                append_jsonl(file, {**about, "model": loaded.fingerprint}, *rows)
                results[thing.id, ""] = {"right": yes}
            if results[thing.id, ""]["right"]:
                right.append(thing)
                progress.advance(bar)
        bar = progress.add_task("occlusion", total=occluded)
        for thing in right[:occluded]:
            if (thing.id, "occlusion") not in results:
                append_jsonl(file, *by_occlusion(engine, thing, request_of(thing)))
            progress.advance(bar)


def by_attention(loaded: LoadedModel, thing: Thing, request: Request) -> list[dict[str, Any]]:
    """Measure the map from attention, and maps that do not depend on the model."""
    (values,) = attention_maps(loaded, request, "yes")
    maps = {"attention": values, "random": chance(thing, values.shape)}
    for sigma in GAUSSIANS:
        maps[f"middle, Gaussian of {sigma}"] = gaussian(values.shape, sigma)
    return [measure_map(loaded, thing, request, kind, values) for kind, values in maps.items()]


def by_occlusion(engine: LocalEngine, thing: Thing, request: Request) -> list[dict[str, Any]]:
    """Measure the map from occlusion, and deletion and insertion by three kinds of maps."""
    loaded: Any = engine.loaded
    (picture,) = request.images
    small = with_pictures(request, [downscaled(picture)])
    regions = [
        visible_region(loaded.processor.image_processor, picture.size, loaded.processor.patch_size)
    ]
    maps = {"occlusion": occlusion_maps(engine, small, "yes", regions, GRID, lambda _: None)[0]}
    maps["attention"] = attention_maps(loaded, request, "yes")[0]
    maps["random"] = chance(thing, maps["attention"].shape)
    rows = [
        {"id": thing.id, "map": f"{kind}, scores", "deletion": deletion, "insertion": insertion}
        for kind, values in maps.items()
        for deletion, insertion in deletion_and_insertion(
            engine, small, "yes", regions, [[values]], lambda _: None
        )
    ]
    return [*rows, measure_map(loaded, thing, request, "occlusion", maps["occlusion"])]


def measure_map(
    loaded: Any, thing: Thing, request: Request, kind: str, values: np.ndarray
) -> dict[str, Any]:
    """Tell whether the highest place of a map lies in a box, and the share of the map that does."""
    (picture,) = request.images
    inside = in_boxes(thing.boxes, picture.size)
    region = visible_region(
        loaded.processor.image_processor, picture.size, loaded.processor.patch_size
    )
    over = RelevanceMap(values, region, picture.size).over_picture()  # [H, W]
    share = float(over[inside].sum() / max(over.sum(), 1e-12))
    hit = bool(inside.flat[over.argmax()])
    figures = {"hit": hit, "share": share, "small": bool(inside.mean() < SMALL)}
    return {"id": thing.id, "map": kind, **figures}


def things(rows: Path, images: Path, boxes: list[Path]) -> list[Thing]:
    """List the marked things in the rows' pictures, in random order."""
    marked = marked_things(boxes)
    paths = {Path(example.images[0]) for example in read(rows, images) if example.images}
    pairs = sorted((path, name) for path in paths for name in marked.get(path.name, {}))
    random.Random(0).shuffle(pairs)
    return [Thing(path, name, tuple(marked[path.name][name])) for path, name in pairs]


def marked_things(files: list[Path]) -> dict[str, dict[str, list[Box]]]:
    """Read boxes by the picture's file name and the thing's name, without crowds."""
    marked: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        data = json.loads(file.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in data["categories"]}
        pictures = {entry["id"]: entry for entry in data["images"]}
        for entry in data["annotations"]:
            picture = pictures[entry["image_id"]]
            if not entry.get("iscrowd"):
                left, top, width, height = entry["bbox"]
                across, down = picture["width"], picture["height"]
                box = (left / across, top / down, width / across, height / down)
                marked[Path(picture["file_name"]).name][names[entry["category_id"]]].append(box)
    return marked


def in_boxes(boxes: tuple[Box, ...], size: tuple[int, int]) -> np.ndarray:
    """Return which pixels lie in any box, [H, W]."""
    width, height = size
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    inside = np.zeros((height, width), bool)
    for left, top, across, down in boxes:
        rows, columns = (y >= top) & (y <= top + down), (x >= left) & (x <= left + across)
        inside |= rows[:, None] & columns[None, :]
    return inside


def gaussian(shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Make a map that is highest in the middle."""
    down, along = (
        np.exp(-(((np.arange(cells) + 0.5) / cells - 0.5) ** 2) / 2 / sigma**2) for cells in shape
    )
    return np.outer(down, along)


def chance(thing: Thing, shape: tuple[int, ...]) -> np.ndarray:
    """Make a random map, the same for a thing each time."""
    return np.random.default_rng(list(thing.id.encode())).random(shape)


def table(rows: list[dict[str, Any]]) -> Table:
    """Make a line for each kind of map, for all questions and for those of occlusion."""
    occluded = {row["id"] for row in rows if row["map"] == "occlusion"}
    heads = ("map", "questions", "pointing game", "share in boxes")
    lines = Table(*heads, *(f"small: {head}" for head in heads[1:]), "deletion", "insertion")
    kinds = [row["map"] for row in rows if "hit" in row]
    for ids, name in ((None, ""), (occluded, ", those of occlusion")):
        for kind in dict.fromkeys(kinds):
            selected = [r for r in rows if r["map"] == kind and (ids is None or r["id"] in ids)]
            if not selected or (kind == "occlusion" and ids is None):
                continue
            scored = [r for r in rows if r["map"] == f"{kind}, scores"] if ids is not None else []
            small = [r for r in selected if r["small"]]
            cells = [f"{kind}{name}"]
            for part in (selected, small):
                cells += [str(len(part)), percent(part, "hit"), percent(part, "share")]
            for score in ("deletion", "insertion"):
                cells.append(f"{np.mean([r[score] for r in scored]):.3f}" if scored else "")
            lines.add_row(*cells)
    return lines


def percent(rows: list[dict[str, Any]], key: str) -> str:
    """Write the mean in percent."""
    return f"{100 * np.mean([row[key] for row in rows]):.1f} %" if rows else ""


if __name__ == "__main__":
    typer.run(main)
