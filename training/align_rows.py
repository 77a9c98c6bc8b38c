"""From rows of pictures and captions to batches of pairs, with features that are computed once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset

from training.dry_run import timed
from training.features import SHARD, FeatureCache, fingerprints
from vqa import cache, fingerprint
from vqa.alignment.joint import JointModel, text_features
from vqa.alignment.loading import DualEncoder, tokens_of
from vqa.data import read
from vqa.data.identity import sha256
from vqa.data.reading import default_root
from vqa.data.split import held_out
from vqa.encoders import pictures_at_once
from vqa.errors import InputError
from vqa.images import load_image

if TYPE_CHECKING:
    from training.align import AlignSettings

_CAPTIONS_AT_ONCE = 64
_PARTS = {"vision": ("vision_tower", "picture_head"), "text": ("text_tower", "text_head")}


@dataclass(frozen=True)
class Captioned:
    """Different pictures and texts, and which belong together: a pair for each caption."""

    pictures: list[str]  # paths, one for each content
    prints: list[str]  # fingerprints of their files
    texts: list[str]
    pairs: NDArray[np.int32]  # [P, 2]: picture, text
    left_out: int  # rows that do not show exactly one picture

    def of(self, pictures: NDArray[np.int32]) -> NDArray[np.int32]:
        """The pairs of some pictures."""
        return self.pairs[np.isin(self.pairs[:, 0], pictures)]


class Pairs(Dataset[dict[str, Tensor]]):
    """Batches of pairs in the order in which they are trained on.

    A row is what one process takes of one step; the rows of a step follow each other.
    """

    def __init__(
        self, batches: list[NDArray[np.int32]], data: Captioned, picture: Any, text: Any
    ) -> None:
        self.batches = batches
        self.data = data
        self.dtype = torch.float32
        self._picture: Callable[[int], Tensor] = picture  # features [F] or pixels [3, H, W]
        self._text: Callable[[int], Tensor] = text  # features [F]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pairs = self.batches[index]  # [B, 2]
        return {
            "pictures": torch.stack([self._picture(number) for number in pairs[:, 0].tolist()]),
            "texts": torch.stack([self._text(number) for number in pairs[:, 1].tolist()]),
            "picture_ids": torch.from_numpy(pairs[:, 0].astype(np.int64)),  # [B]
            "text_ids": torch.from_numpy(pairs[:, 1].astype(np.int64)),  # [B]
        }


@dataclass(frozen=True)
class Held:
    """Pictures that are kept from training, with all of their captions."""

    rows: Pairs
    examples: list[int]  # their numbers in the data


@dataclass(frozen=True)
class Planned:
    """Which pictures are trained on and which are measured."""

    data: Captioned
    trained: NDArray[np.int32]  # pictures
    checked: Captioned
    measured: NDArray[np.int32]  # pictures of `checked`


@dataclass(frozen=True)
class Prepared:
    """The batches of a run, and the identity of its data."""

    train: Pairs
    validation: Held | None
    data: str  # fingerprint of the data files
    examples: int  # pairs that are trained on
    pictures: int


def captioned(path: Path, root: Path) -> Captioned:
    """Read the rows of a file: every answer is a caption of the row's picture."""
    shown: list[tuple[str, str]] = []
    left_out = 0
    for example in read(path, root):
        if len(example.images) != 1:
            left_out += 1
            continue
        shown += [(str(example.images[0]), " ".join(text.split())) for text in example.answers]
    if not shown:
        raise InputError(f"{path}: no row shows exactly one picture and has an answer")
    prints = fingerprints(sorted({image for image, _ in shown}))
    pictures: dict[str, int] = {}
    paths: list[str] = []
    texts: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}
    for image, text in shown:
        if text:
            if prints[image] not in pictures:
                paths.append(image)
            number = pictures.setdefault(prints[image], len(pictures))
            pairs[number, texts.setdefault(text, len(texts))] = None
    found = np.array(list(pairs), dtype=np.int32).reshape(-1, 2)
    return Captioned(paths, list(pictures), list(texts), found, left_out)


def plan(settings: AlignSettings) -> Planned:
    """Read the data and keep pictures for validation. Raises InputError where rows are bad."""
    if settings.data is None:
        raise InputError("data: name a file of pictures and captions")
    data = captioned(settings.data, _root(settings.data, settings))
    own = settings.validation.data
    if own is None:
        held = held_out(data.prints, settings.validation.share, settings.seed)
        apart = np.array([key in held for key in data.prints], dtype=np.bool_)
        checked, measured, trained = data, _numbers(apart), _numbers(~apart)
    else:
        checked = captioned(own, _root(own, settings))
        leaks = set(checked.prints) & set(data.prints)
        if leaks:
            path = checked.pictures[checked.prints.index(min(leaks))]
            raise InputError(
                f"validation.data: {path} is also a training picture: what was trained on measures "
                f"nothing; remove it from {own}"
            )
        trained, measured = (np.arange(len(d.prints), dtype=np.int32) for d in (data, checked))
    if len(measured) > settings.validation.pictures:
        draw = np.random.default_rng(settings.seed)
        measured = np.sort(draw.choice(measured, settings.validation.pictures, replace=False))
    if len(trained) < 2:
        raise InputError(f"{settings.data}: to tell pictures apart takes two of them at least")
    return Planned(data, trained, checked, measured)


def steps_of(settings: AlignSettings, pairs: int) -> int:
    """Optimizer steps of a run over so many pairs."""
    size = min(settings.batch, pairs)
    return settings.max_steps or max(1, round(settings.epochs * pairs / size))


def batches_of(
    pairs: NDArray[np.int32], settings: AlignSettings, steps: int, processes: int
) -> list[NDArray[np.int32]]:
    """The pairs [B, 2] of each process and step: all of them in a new order every epoch.

    What is left at the end of an epoch, too few for a batch, has its turn in another order.
    """
    size = min(settings.batch, len(pairs)) // processes * processes
    if size < 2 * processes:
        raise InputError(
            f"batch={settings.batch} gives {processes} processes too few pairs each: it takes two "
            "or more"
        )
    found: list[NDArray[np.int32]] = []
    epoch = 0
    while len(found) < steps * processes:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(pairs))
        for start in range(0, len(pairs) - size + 1, size):
            found += np.split(pairs[order[start : start + size]], processes)
        epoch += 1
    return found[: steps * processes]


def prepare(settings: AlignSettings, encoder: DualEncoder, planned: Planned) -> Prepared:
    """Compute the features that are missing, set the heads' statistics, and put batches together.

    With `train.vision` batches hold the pictures themselves.
    """
    data, checked, model = planned.data, planned.checked, encoder.model
    with PartialState().main_process_first():  # the others find the features on disk
        wanted = [(data, planned.trained)] + [(checked, planned.measured)] * bool(
            len(planned.measured)
        )
        texts = _texts(encoder, [(d, np.unique(d.of(p)[:, 1])) for d, p in wanted])
        pictures = _pictures(encoder, wanted)
    pairs = data.of(planned.trained)
    _calibrate(model, pairs, data, pictures, texts)

    def rows(of: Captioned, batches: list[NDArray[np.int32]]) -> Pairs:
        picture = (
            _pixels(encoder, of) if settings.train.vision else lambda n: pictures[of.prints[n]]
        )
        return Pairs(batches, of, picture, lambda n: texts[_key(of.texts[n])])

    processes = PartialState().num_processes
    batches = batches_of(pairs, settings, steps_of(settings, len(pairs)), processes)
    held = None
    if len(planned.measured):
        own = checked.of(planned.measured)
        parts = np.array_split(own, max(1, math.ceil(len(own) / settings.batch)))
        held = Held(rows(checked, parts), planned.measured.tolist())
    files = [path for path in (settings.data, settings.validation.data) if path is not None]
    return Prepared(
        rows(data, batches),
        held,
        fingerprint.of_json([sha256(path) for path in files]),
        len(pairs),
        len(planned.trained),
    )


_TIMED = 4  # pictures, and texts, that a guess is made from


def seconds_of_features(settings: AlignSettings, encoder: DualEncoder, planned: Planned) -> float:
    """About how long the features take that no run has left behind."""
    data, seconds = planned.data, 0.0
    known = FeatureCache(_directory(encoder, "text"))
    texts = [text for text in data.texts if _key(text) not in known]
    if texts:
        few = texts[:_TIMED]
        seconds += timed(lambda: encoder.texts(few)) * len(texts) / len(few)
    known = FeatureCache(_directory(encoder, "vision"))
    paths = [p for p, key in zip(data.pictures, data.prints, strict=True) if key not in known]
    if paths and not settings.train.vision:
        some = paths[:_TIMED]
        each = timed(lambda: encoder.pictures([load_image(path) for path in some])) / len(some)
        seconds += each * len(paths)
    return seconds


def _numbers(chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.flatnonzero(chosen).astype(np.int32)


def _root(path: Path, settings: AlignSettings) -> Path:
    return (settings.images or default_root(path)).resolve()


def _key(text: str) -> str:
    return fingerprint.of_bytes(text.encode())


def _directory(encoder: DualEncoder, kind: str) -> Path:
    """Where the features of one of the encoders are kept: by its weights and what it is given."""
    tower, head = (getattr(encoder.model, name) for name in _PARTS[kind])
    if kind == "vision":
        before = encoder.image_processor.to_dict()
    else:  # not as it is written: how the last batch was filled up is part of that
        tokenizer = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
        before = {key: tokenizer[key] for key in ("normalizer", "pre_tokenizer", "model")}
    identity = [kind, head.linear.in_features, fingerprint.of_module(tower), before]
    if kind == "vision" and encoder.model.class_names is not None:
        identity.append(fingerprint.of_module(encoder.model.class_names))
    return cache.cache_directory() / "alignment" / fingerprint.of_json(identity)


@torch.inference_mode()
def _fill(
    held: FeatureCache,
    todo: Sequence[tuple[str, Any]],
    size: int,
    encode: Callable[[list[Any]], Tensor],
    what: str,
) -> None:
    """Compute and keep the features of `todo`, key and input, `size` at once."""
    with Progress() as progress:
        bar = progress.add_task(what, total=len(todo))
        for start in range(0, len(todo), SHARD * 4):
            shard = todo[start : start + SHARD * 4]
            done: dict[str, Tensor] = {}
            for place in range(0, len(shard), size):
                batch = shard[place : place + size]
                features = encode([item for _, item in batch]).float().cpu()  # [B, F]
                done.update(
                    (key, row.clone()) for (key, _), row in zip(batch, features, strict=True)
                )
                progress.advance(bar, len(batch))
            held.add(done)


def _open(encoder: DualEncoder, kind: str) -> FeatureCache:
    directory = _directory(encoder, kind)
    directory.mkdir(parents=True, exist_ok=True)
    return FeatureCache(directory)


def _texts(
    encoder: DualEncoder, wanted: Sequence[tuple[Captioned, NDArray[np.int32]]]
) -> FeatureCache:
    held = _open(encoder, "text")
    texts = {_key(data.texts[n]): data.texts[n] for data, numbers in wanted for n in numbers}
    # texts of one length together: no token is spent on filling up
    todo = sorted(
        ((key, text) for key, text in texts.items() if key not in held), key=lambda t: len(t[1])
    )
    encoder.check([text for _, text in todo])
    model: JointModel = encoder.model

    def encode(batch: list[str]) -> Tensor:
        tokens = tokens_of(encoder.tokenizer, batch).to(encoder.device)
        return text_features(model.text_tower, **tokens)

    if todo:
        _fill(held, todo, _CAPTIONS_AT_ONCE, encode, "captions")
    return held


def _pictures(
    encoder: DualEncoder, wanted: Sequence[tuple[Captioned, NDArray[np.int32]]]
) -> FeatureCache:
    held = _open(encoder, "vision")
    files = {data.prints[n]: data.pictures[n] for data, numbers in wanted for n in numbers}
    todo = [(key, path) for key, path in files.items() if key not in held]
    model: JointModel = encoder.model

    with ThreadPoolExecutor() as pool:

        def encode(batch: list[str]) -> Tensor:
            images = list(pool.map(load_image, batch))
            pixels = encoder.image_processor(images, return_tensors="pt")["pixel_values"]
            return model.picture_features(pixels.to(encoder.device))

        if todo:
            _fill(held, todo, pictures_at_once(encoder.device), encode, "pictures")
    return held


def _pixels(encoder: DualEncoder, data: Captioned) -> Callable[[int], Tensor]:
    def pixels(number: int) -> Tensor:
        image = load_image(data.pictures[number])
        found: Tensor = encoder.image_processor(image, return_tensors="pt")["pixel_values"][0]
        return found  # [3, H, W]

    return pixels


_SAMPLE = 5000  # pictures, and texts, that statistics are measured on


def _calibrate(
    model: JointModel,
    pairs: NDArray[np.int32],
    data: Captioned,
    pictures: FeatureCache,
    texts: FeatureCache,
) -> None:
    def some(column: int) -> Iterator[int]:
        numbers = np.unique(pairs[:, column])
        yield from numbers[:: max(1, len(numbers) // _SAMPLE)].tolist()

    model.picture_head.calibrate(torch.stack([pictures[data.prints[n]] for n in some(0)]))
    model.text_head.calibrate(torch.stack([texts[_key(data.texts[n])] for n in some(1)]))
