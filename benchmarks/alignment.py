"""Quality of the shared space, and the speed of a search.

    python benchmarks/alignment.py --data-root DIR [--model NAME]

DIR holds the public sets as `vqa data build mix` takes them: `flickr8k` (its dev pictures), and
`clothing` and `caltech101`, whose pictures and labels the embedded model was not trained on.
Vectors of pictures go to `--cache`, so an interrupted run goes on. Without `--data-root` only
the search is measured, on random vectors.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.mix.picture import Picture
from training.mix.sets import SETS
from vqa.alignment.classify import label_vectors
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.index import FileStamp, PictureIndex
from vqa.alignment.loading import load
from vqa.alignment.search import load_batches
from vqa.errors import VQAError
from vqa.metrics.retrieval import ranks
from vqa.utils import cache, fingerprint

_DRAWS = 1000
_SHARD = 128


def main(
    data_root: Annotated[Path | None, typer.Option(help="Folder of the public sets.")] = None,
    model: Annotated[str, typer.Option(help="As for `vqa search`.")] = "embedded",
    vectors: Annotated[
        int, typer.Option(help="How many pictures the searched index has.")
    ] = 100_000,
    keep: Annotated[Path | None, typer.Option("--cache", help="Where vectors are cached.")] = None,
) -> None:
    """Measure and print."""
    keep = keep or cache.cache_dir() / "benchmarks"
    try:
        if data_root is not None:
            encoder = load(model)
            typer.echo(f"{model}: {encoder.dim} dimensions, temperature 1/{encoder.scale:.1f}")
            _retrieval(encoder, data_root, keep)
            for name in ("clothing", "caltech101"):
                _zero_shot(encoder, name, data_root, keep)
        if vectors:
            _search(vectors)
    except VQAError as error:
        raise SystemExit(f"alignment.py: {error}") from error


def _retrieval(encoder: DualEncoder, root: Path, keep: Path) -> None:
    pictures = [p for p in SETS["flickr8k"].read(root / "flickr8k") if p.official_split == "dev"]
    texts = [caption.strip() for picture in pictures for caption in picture.captions]
    owner = np.array([n for n, picture in enumerate(pictures) for _ in picture.captions])
    scores = (_vectors(encoder, pictures, keep) @ encoder.encode_texts(texts).T).numpy()  # [P, T]
    correct = owner[None] == np.arange(len(pictures))[:, None]  # [P, T]
    typer.echo(f"Flickr8k dev: {len(pictures)} pictures, {len(texts)} captions")
    directions = (
        ("text to picture", ranks(scores.T, correct.T), owner),
        ("picture to text", ranks(scores, correct), np.arange(len(pictures))),
    )
    for direction, places, clusters in directions:
        for k in (1, 5, 10):
            hits = (places <= k).astype(np.float64)
            typer.echo(f"  {direction} R@{k}: {_with_interval(hits, clusters)}")


def _zero_shot(encoder: DualEncoder, name: str, root: Path, keep: Path) -> None:
    """Print the share of pictures whose label is the nearest; folders of one label are a class."""
    pictures = list(SETS[name].read(root / name))
    names = [picture.label.name for picture in pictures if picture.label is not None]
    labels = sorted(set(names))
    places = (_vectors(encoder, pictures, keep) @ label_vectors(encoder, labels).T).argmax(1)
    hits = np.array(
        [labels[place] == label for place, label in zip(places.tolist(), names, strict=True)]
    )
    by_class = [hits[np.array(names) == label].mean() for label in labels]
    typer.echo(
        f"{name}: {len(pictures)} pictures, {len(labels)} labels, "
        f"chance {100 / len(labels):.1f} %: "
        f"{_with_interval(hits.astype(np.float64), np.arange(len(hits)))} right, mean over classes "
        f"{100 * float(np.mean(by_class)):.1f} %"
    )


def _with_interval(hits: NDArray[np.float64], pictures: NDArray[np.int64]) -> str:
    """Write a share with its 95 % interval, pictures drawn with replacement."""
    sums = np.bincount(pictures, hits)
    counts = np.bincount(pictures)
    drawn = np.random.default_rng(0).integers(len(sums), size=(_DRAWS, len(sums)))
    shares = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return f"{100 * hits.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _vectors(encoder: DualEncoder, pictures: Sequence[Picture], keep: Path) -> Tensor:
    """Encode pictures as vectors [P, d], which are cached in pieces by model and paths."""
    paths = [picture.path for picture in pictures]
    shards = []
    with Progress() as progress:
        bar = progress.add_task(pictures[0].source, total=len(paths))
        for start in range(0, len(paths), _SHARD):
            part = paths[start : start + _SHARD]
            key = fingerprint.of_json([encoder.fingerprint, [str(path.resolve()) for path in part]])
            file = keep / f"{key}.safetensors"
            if not file.is_file():
                broken: list[str] = []
                rows = [
                    encoder.encode_images(images) for _, images in load_batches(part, broken.append)
                ]
                if broken:
                    raise VQAError(broken[0])
                keep.mkdir(parents=True, exist_ok=True)
                save_file({"vectors": torch.cat(rows)}, file)
            shards.append(load_file(file)["vectors"])
            progress.advance(bar, len(part))
    return torch.cat(shards)


def _search(count: int, dim: int = 256, queries: int = 200, top_k: int = 10) -> None:
    """Time a search among random vectors, and count the true first ones it finds."""
    random = np.random.default_rng(0)

    def unit(rows: int) -> NDArray[np.float32]:
        made = random.standard_normal((rows, dim), dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        index = PictureIndex(Path(folder) / "index", "random", "random", dim, Path(folder))
        bar = progress.add_task("adding vectors", total=count)
        made = []
        for start in range(0, count, 1000):
            rows = unit(min(1000, count - start))
            made.append(rows)
            names = [f"{number}.jpg" for number in range(start, start + len(rows))]
            index.add(names, [FileStamp(1, 1)] * len(rows), rows)
            progress.advance(bar, len(rows))
        began = time.perf_counter()
        index.save()
        saved = time.perf_counter() - began
        size = sum(path.stat().st_size for path in index.directory.iterdir())
        began = time.perf_counter()
        index = PictureIndex.open(index.directory)
        opening = time.perf_counter() - began
        everything = np.concatenate(made)
        # queries that lie near some pictures, as real ones do
        asked = everything[:queries] + 0.05 * unit(queries) * np.sqrt(dim)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        seconds, right = [], 0
        for query in asked:
            began = time.perf_counter()
            hits = index.nearest(query, top_k)
            seconds.append(time.perf_counter() - began)
            best = np.argpartition(-(everything @ query), top_k)[:top_k]
            right += len({int(hit.image.stem) for hit in hits} & set(best.tolist()))
    typer.echo(
        f"search among {count:,} pictures: {1000 * np.median(seconds):.2f} ms (95 % within "
        f"{1000 * np.percentile(seconds, 95):.2f} ms), {100 * right / (queries * top_k):.1f} % of "
        f"the true first {top_k}; {size / 1e6:.0f} MB, saved in {saved:.1f} s, opened in "
        f"{opening:.1f} s"
    )


if __name__ == "__main__":
    typer.run(main)
