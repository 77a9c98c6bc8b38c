"""From rows of question and answer to packed rows of tokens with their pictures."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from training.features import FeatureCache, cache_directory, cache_features, fingerprints
from training.packing import Encoded, Groups, Rows, group, joined, pack, tensors
from training.settings import Augment, QuestionSettings, TrainSettings
from training.split import kept_apart
from training.start import start_from_words
from training.tokens import Tokens, tokens_of
from training.views import WHOLE, View, view_of
from vqa import fingerprint
from vqa.data import read
from vqa.data.example import Example
from vqa.data.identity import sha256
from vqa.data.reading import default_root
from vqa.errors import InputError
from vqa.images import load_image
from vqa.metrics import Metric, metric
from vqa.turns import encode_row

# Part of the identity of cached tokens: raise it when prompts or masks are made in another way.
_TOKENS = 1

ViewOf = Callable[[int, str], View]  # which group of all rows' groups, path of its picture -> view


class Pictures(Protocol):
    """Gives patch features [N, Dv] or pixels [3, H, W] of what a view shows of a picture."""

    def __call__(self, path: str, view: View = WHOLE) -> Tensor: ...


class TrainRows(Dataset[dict[str, Tensor]]):
    """Rows in the order in which they are trained on; each is what runs at once."""

    dtype: torch.dtype  # that training computes in

    def __len__(self) -> int:
        raise NotImplementedError


class PackedRows(TrainRows):
    """Rows of tokens in the order in which they are trained on, one after the other."""

    def __init__(
        self,
        tokens: Tokens,
        groups: Groups,
        rows: Rows,
        pictures: Pictures,
        dtype: torch.dtype,
        view_of: ViewOf | None = None,
    ) -> None:
        self.tokens = tokens
        self.groups = groups
        self.rows = rows
        self.pictures = pictures
        self.dtype = dtype
        self.view_of = view_of or (lambda place, path: WHOLE)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = []
        seen = []
        for place, number in enumerate(self.rows[index], int(self.rows.starts[index])):
            members = self.groups[number].tolist()
            cut = int(self.tokens.arrays["cuts"][members[0]])
            row.append(joined([self.tokens[member] for member in members], cut))
            seen += [self.pictures(path, self.view_of(place, path)) for path in row[-1].images]
        batch = tensors(row)
        if seen:
            batch["pixel_values"] = torch.stack(seen).to(self.dtype)  # [pictures, ...]
        # an additive mask is exact under both SDPA and eager attention; a boolean one is not
        visible = batch["attention_mask"]
        batch["attention_mask"] = torch.zeros(visible.shape, dtype=self.dtype).masked_fill(
            ~visible, torch.finfo(self.dtype).min
        )  # [1, 1, T, T]
        return batch


@dataclass(frozen=True)
class Validation:
    """What is measured during a training, on pictures that it never sees."""

    rows: TrainRows
    examples: list[Example]
    metric: Metric


@dataclass(frozen=True)
class Prepared:
    """The rows of a run, and the identity of its data."""

    train: TrainRows
    validation: Validation | None
    data: str  # fingerprint of the data files
    examples: int  # rows of the data that are trained on
    pictures: int  # and their different pictures


@dataclass(frozen=True)
class Planned:
    """Which rows of the data are trained on, in which order, and which are measured."""

    tokens: Tokens
    trained: NDArray[np.int32]  # rows of `tokens`
    checked: Tokens
    measured: NDArray[np.int32]  # rows of `checked`
    prints: dict[str, str]  # fingerprints of the pictures' files by path
    groups: Groups
    rows: Rows
    augment: Augment
    views: NDArray[np.int32]  # of each of the rows' groups, the number of the view it sees

    def view_of(self, place: int, path: str) -> View:
        """What the group at `place` in `rows.groups` sees of the picture `path`."""
        first = self.groups[self.rows.groups[place]][0]
        source = self.tokens.source_names[self.tokens.arrays["sources"][first]]
        return view_of(int(self.views[place]), self.prints[path], source, self.augment)

    def views_of(self, rows: int) -> Iterator[tuple[str, View]]:
        """What the first `rows` packed rows see of pictures besides the whole ones."""
        for place in np.flatnonzero(self.views[: self.rows.starts[min(rows, len(self.rows))]]):
            first = int(self.groups[self.rows.groups[place]][0])
            for picture in self.tokens.pictures(first):
                path = self.tokens.paths[picture]
                yield path, self.view_of(int(place), path)

    def pictures(self) -> set[str]:
        """The paths of all pictures that the run looks at."""
        return self.trained_pictures() | _paths(self.checked, self.measured)

    def trained_pictures(self) -> set[str]:
        """Of these, those that are trained on."""
        return _paths(self.tokens, self.trained)


def plan(settings: TrainSettings, config: Any, processor: Any) -> Planned:
    """Read the data, keep pictures for validation, and pack all epochs.

    `config` is the LLaVA model's. Raises InputError where rows cannot be used or do not fit.
    """
    if settings.data is None:
        raise InputError("data: name a file of rows with image, question and answer")
    tokens = _tokens(settings.data, settings, config, processor)
    own = settings.validation.data
    checked = tokens if own is None else _tokens(own, settings, config, processor)
    prints = fingerprints(sorted({*tokens.paths, *checked.paths}))
    if own is None:
        apart = kept_apart(tokens, prints, settings.validation.share, settings.seed)
        trained, measured = _numbers(~apart), _numbers(apart)
    else:
        trained, measured = (np.arange(len(rows), dtype=np.int32) for rows in (tokens, checked))
        refuse_leaks(tokens.paths, checked.paths, prints, own)
    measured = spread(measured, settings.validation.rows, settings.seed)
    groups = _groups(tokens, trained, settings)
    rows = _epochs(tokens, groups, settings)
    draw = np.random.default_rng((settings.seed, 1))  # not the numbers that packing draws
    views = draw.integers(settings.augment.views, size=len(rows.groups), dtype=np.int32)
    return Planned(
        tokens, trained, checked, measured, prints, groups, rows, settings.augment, views
    )  # fmt: skip


def prepare(settings: TrainSettings, model: Any, processor: Any, pixels: bool = False) -> Prepared:
    """Plan the run, compute the features that are missing, and start the projector.

    With `pixels` the rows hold the pictures themselves and not their features: for an encoder that
    is trained too.
    """
    with PartialState().main_process_first():  # the others find tokens and features on disk
        planned = plan(settings, model.config, processor)
        count = settings.max_steps and settings.max_steps * settings.rows_per_step
        pictures = (
            pixels_of(processor)
            if pixels
            else features_of(
                model, processor, planned.pictures(), planned.prints,
                planned.views_of(count or len(planned.rows)),
            )
        )  # fmt: skip
        if settings.projector_start == "words":
            if pixels:
                raise InputError("projector_start: words needs a frozen encoder; use as_is")
            learned = planned.trained_pictures()
            start_from_words(
                model, processor, read_rows(settings.data, settings), learned, pictures
            )
    train = PackedRows(
        planned.tokens, planned.groups, planned.rows, pictures, model.dtype, planned.view_of
    )
    own = settings.validation.data
    files = [path for path in (settings.data, own) if path is not None]
    return Prepared(
        train,
        _validation(planned, settings, pictures, model.dtype) if len(planned.measured) else None,
        fingerprint.of_json([sha256(path) for path in files]),
        len(planned.trained),
        len(planned.trained_pictures()),
    )


def _validation(
    planned: Planned, settings: TrainSettings, pictures: Pictures, dtype: torch.dtype
) -> Validation:
    groups = _groups(planned.checked, planned.measured, settings)
    rows = pack(groups.tokens, settings.row_tokens, settings.seed)
    wanted = set(planned.measured.tolist())
    source = read_rows(settings.validation.data or settings.data, settings)
    examples = [example for number, example in enumerate(source) if number in wanted]
    packed = PackedRows(planned.checked, groups, rows, pictures, dtype)
    return Validation(packed, examples, metric(settings.validation.metric))


def read_rows(path: Path | None, settings: QuestionSettings) -> Iterator[Example]:
    assert path is not None
    return read(path, _root(path, settings))


def _root(path: Path, settings: QuestionSettings) -> Path:
    """Where the pictures are, whatever directory the command is given in."""
    return (settings.images or default_root(path)).resolve()


def _tokens(path: Path, settings: TrainSettings, config: Any, processor: Any) -> Tokens:
    context = getattr(config.text_config, "max_position_embeddings", None)
    identity = fingerprint.of_json(
        [
            sha256(path),
            _TOKENS,
            str(_root(path, settings)),
            fingerprint.of_bytes(processor.tokenizer.backend_tokenizer.to_str().encode()),
            [str(processor.chat_template), str(processor.tokenizer.chat_template)],
            processor.to_dict(),
            context,
        ]
    )
    return tokens_of(
        identity,
        lambda: track(read_rows(path, settings), f"tokens of {path.name}", total=None),
        lambda example: encode_example(example, processor),
        config.image_token_index,
        context,
    )


def refuse_leaks(
    trained: Iterable[str], checked: Iterable[str], prints: Mapping[str, str], file: Path
) -> None:
    """Raise InputError where a picture of the validation `file` is trained on too, by content."""
    own = {prints[path]: path for path in trained}
    for path in checked:
        if prints[path] in own:
            raise InputError(
                f"validation.data: {path} is also a training picture ({own[prints[path]]}): what "
                f"was trained on measures nothing; remove it from {file}"
            )


def _numbers(chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.flatnonzero(chosen).astype(np.int32)


def spread(rows: NDArray[np.int32], most: int, seed: int) -> NDArray[np.int32]:
    """At most so many of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _groups(tokens: Tokens, rows: NDArray[np.int32], settings: TrainSettings) -> Groups:
    arrays = tokens.arrays
    return group(rows, arrays["groups"], arrays["cuts"], tokens.lengths, settings.row_tokens)


def _epochs(tokens: Tokens, groups: Groups, settings: TrainSettings) -> Rows:
    """The rows of all epochs, each epoch in an order of its own."""
    names = tokens.source_names
    named = {
        "repeat": settings.repeat,
        "augment.whole": settings.augment.whole,
        "augment.mirror": settings.augment.mirror,
    }
    for key, sources in named.items():
        for source_name in sources:
            if source_name not in names:
                raise InputError(f"{key}: no row of {settings.data} has the source {source_name}")
    source = tokens.arrays["sources"][groups.members[groups.starts[:-1]]]  # [G]
    packed: list[Rows] = []
    chosen: list[NDArray[np.int32]] = []
    for epoch in range(math.ceil(settings.epochs)):
        parts = [
            repeated(_numbers(source == n), settings.repeat.get(name, 1), settings.seed + epoch)
            for n, name in enumerate(names)
        ]
        numbers = np.concatenate(parts)
        rows = pack(groups.tokens[numbers], settings.row_tokens, settings.seed + epoch)
        packed.append(Rows(numbers[rows.groups], rows.starts))
        chosen.append(numbers)
    count = sum(map(len, packed))
    if not count:
        raise InputError("repeat: it leaves nothing of the data to train on")
    return _first(packed, math.ceil(count * settings.epochs / math.ceil(settings.epochs)))


def _first(packed: Sequence[Rows], count: int) -> Rows:
    """The first `count` rows of several packings, one after the other."""
    groups = np.concatenate([rows.groups for rows in packed])
    sizes = np.concatenate([np.diff(rows.starts) for rows in packed])[:count]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return Rows(groups[: starts[-1]], starts)


def repeated(items: NDArray[np.int32], times: float, seed: int) -> NDArray[np.int32]:
    """The items `times` over; a fraction is a random part of them."""
    part = random.Random(seed).sample(range(len(items)), round(len(items) * (times % 1)))
    return np.concatenate([np.tile(items, int(times)), items[part]])


def _paths(tokens: Tokens, rows: NDArray[np.int32]) -> set[str]:
    starts, pictures = tokens.arrays["picture_starts"], tokens.arrays["pictures"]
    if len(rows) == len(tokens):
        return set(tokens.paths)
    chosen = np.zeros(len(tokens), dtype=np.bool_)
    chosen[rows] = True
    places = np.unique(pictures[np.repeat(chosen, np.diff(starts))])
    return {tokens.paths[place] for place in places.tolist()}


def features_of(
    model: Any,
    processor: Any,
    paths: Iterable[str],
    prints: Mapping[str, str],
    views: Iterable[tuple[str, View]] = (),
) -> Pictures:
    """The patch features of each picture and of `views`; what the cache lacks is computed."""
    wanted = {prints[path]: (Path(path), WHOLE) for path in sorted(paths)}
    wanted |= {view.key(prints[path]): (Path(path), view) for path, view in sorted(views, key=str)}
    cache_features(model, processor, wanted)
    features = FeatureCache(cache_directory(model, processor))
    return lambda path, view=WHOLE: features[view.key(prints[path])]


def pixels_of(processor: Any) -> Pictures:
    def pixels(path: str, view: View = WHOLE) -> Tensor:
        prepared = processor.image_processor(view(load_image(path)), return_tensors="pt")
        found: Tensor = prepared["pixel_values"][0]  # [3, H, W]
        return found

    return pixels


def encode_example(example: Example, processor: Any) -> Encoded:
    """Tokens and mask of one example: every answer of its conversation is learned."""
    prompt = encode_row(example, processor)
    return Encoded(tuple(map(str, example.images)), prompt.input_ids, prompt.learned)
