"""Which rows of the data a run trains on, in which order, and what they see of their pictures."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from training.features import fingerprints
from training.packing import Encoded, Groups, Rows, group, pack
from training.settings import Augment, QuestionSettings, TrainSettings
from training.split import kept_apart
from training.tokens import Tokens, tokens_of
from training.views import WHOLE, View, drawn
from vqa import fingerprint
from vqa.data import read
from vqa.data.example import Example
from vqa.data.identity import sha256
from vqa.data.reading import default_root
from vqa.errors import InputError
from vqa.turns import encode_row

# Part of the identity of cached tokens: raise it when prompts or masks are made in another way.
_TOKENS = 1


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
    said: set[str]  # pictures by whose answers the projector starts
    augment: Augment
    numbers: NDArray[np.int32]  # which view each group of `rows` sees, as they stand there

    def view(self, place: int) -> View:
        """What the group at `place` in `rows.groups` sees of its pictures; it has some."""
        number = int(self.numbers[place])
        if number == 0:
            return WHOLE
        members = self.groups[self.rows.groups[place]]
        sources = np.unique(self.tokens.arrays["sources"][members])
        names = {self.tokens.source_names[source] for source in sources.tolist()}
        # several pictures lose the same sides: which of them is on the left stays true
        first = self.tokens.paths[self.tokens.pictures(int(members[0]))[0]]
        return drawn(number, self.prints[first], names, self.augment)

    def trained_pictures(self) -> set[str]:
        """The paths of all pictures of the data that may be trained on."""
        return _paths(self.tokens, self.trained)

    def seen(self) -> dict[str, tuple[Path, View]]:
        """What the run looks at, its validation too, by the key of its features in a cache."""
        firsts = self.groups.members[self.groups.starts[self.rows.groups]]  # of each group's rows
        whole = _paths(self.tokens, firsts[self.numbers == 0])
        found = {
            self.prints[path]: (Path(path), WHOLE)
            for path in whole | self.said | _paths(self.checked, self.measured)
        }
        for place in np.flatnonzero(self.numbers).tolist():
            for picture in self.tokens.pictures(int(firsts[place])):  # none: only text
                path, view = self.tokens.paths[picture], self.view(place)
                found.setdefault(view.key(self.prints[path]), (Path(path), view))
        return found


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
    groups = groups_of(tokens, trained, settings)
    rows = _epochs(tokens, groups, settings)
    draw = np.random.default_rng((settings.seed, 1))  # not the numbers that packing draws
    return Planned(
        tokens=tokens,
        trained=trained,
        checked=checked,
        measured=measured,
        prints=prints,
        groups=groups,
        rows=rows,
        said=_paths(tokens, trained) if settings.projector_start == "words" else set(),
        augment=settings.augment,
        numbers=draw.integers(settings.augment.views, size=len(rows.groups), dtype=np.int32),
    )


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


def groups_of(tokens: Tokens, rows: NDArray[np.int32], settings: TrainSettings) -> Groups:
    arrays = tokens.arrays
    return group(rows, arrays["groups"], arrays["cuts"], tokens.lengths, settings.row_tokens)


def _epochs(tokens: Tokens, groups: Groups, settings: TrainSettings) -> Rows:
    """The rows of all epochs, or of `max_steps`, each epoch in an order of its own."""
    names = tokens.source_names
    mirror = settings.augment.mirror
    named: dict[str, Iterable[str]] = {
        "repeat": settings.repeat,
        "augment.whole": settings.augment.whole,
        "augment.mirror": () if isinstance(mirror, bool) else mirror,
    }
    for key, sources in named.items():
        for source_name in sources:
            if source_name not in names:
                raise InputError(f"{key}: no row of {settings.data} has the source {source_name}")
    source = tokens.arrays["sources"][groups.members[groups.starts[:-1]]]  # [G]

    def epoch(number: int) -> Rows:
        parts = [
            repeated(_numbers(source == n), settings.repeat.get(name, 1), settings.seed + number)
            for n, name in enumerate(names)
        ]
        chosen = np.concatenate(parts)
        rows = pack(groups.tokens[chosen], settings.row_tokens, settings.seed + number)
        return Rows(chosen[rows.groups], rows.starts)

    packed: list[Rows] = []
    count = 0
    wanted = settings.max_steps and settings.max_steps * settings.rows_per_step
    while not packed or (count < wanted if wanted else len(packed) < settings.epochs):
        packed.append(epoch(len(packed)))
        count += len(packed[-1])
        if not count:
            raise InputError("repeat: it leaves nothing of the data to train on")
    share = settings.epochs / math.ceil(settings.epochs)
    return _first(packed, wanted or math.ceil(count * share))


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
    chosen = np.zeros(len(tokens), dtype=np.bool_)
    chosen[rows] = True
    if chosen.all():
        return set(tokens.paths)
    places = np.unique(pictures[np.repeat(chosen, np.diff(starts))])
    return {tokens.paths[place] for place in places.tolist()}


def encode_example(example: Example, processor: Any) -> Encoded:
    """Tokens and mask of one example: every answer of its conversation is learned."""
    prompt = encode_row(example, processor)
    return Encoded(tuple(map(str, example.images)), prompt.input_ids, prompt.learned)
