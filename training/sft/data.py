"""Which rows of the data a run trains on, in which order, and in which views of their pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import LlavaConfig, LlavaProcessor

from training.common.pictures import open_pictures
from training.common.planning import data_files, data_root, draw_rows, indices_of, refuse_leaks
from training.common.recipe import PlanSize, SetVisits, TrainPlan
from training.common.settings import AugmentSettings
from training.common.skipped import FileProblems, SkippedRows, refuse_none_left, refuse_or_skip
from training.common.views import WHOLE, View, draw_view
from training.sft.hints import PictureHints, blocks_before
from training.sft.packing import EncodedExample, PrefixGroups, RowLayout
from training.sft.settings import SftSettings
from training.sft.tokens import TokenTable, load_tokens
from training.sft.visits import count_visits, group_visits, pack_epochs
from vqa.data import read
from vqa.data.encoding import encode_row
from vqa.data.example import REJECTED, Example
from vqa.data.identity import sha256
from vqa.data.split import group_connected, held_out
from vqa.errors import InputError
from vqa.inputs.tiles import has_tiles
from vqa.utils import fingerprint
from vqa.utils.progress import track

# Part of the identity of cached tokens: raise it when prompts or masks are made in another way.
_TOKENS_VERSION = 8


@dataclass(frozen=True)
class SftPlan(TrainPlan):
    """Which rows of the data are trained on, in which order, and which are measured."""

    tokens: TokenTable
    train_rows: NDArray[np.int32]  # rows of `tokens`
    val_tokens: TokenTable
    val_rows: NDArray[np.int32]  # rows of `val_tokens`
    fingerprints: dict[str, str]  # of the files of pictures that can be opened, by path
    data_fingerprint: str
    skipped: SkippedRows
    groups: PrefixGroups
    layout: RowLayout
    starts_projector: bool  # from the answers about the pictures
    augment: AugmentSettings
    view_ids: NDArray[np.int32]  # which view each group of `layout` has, as they stand there

    @property
    def size(self) -> PlanSize:
        """How large the run is."""
        pictures = len(self.train_pictures())
        return PlanSize(len(self.train_rows), pictures, len(self.val_rows), len(self.layout))

    def sets(self) -> list[SetVisits]:
        """Count the pictures of each source, and how often the run visits them."""
        return count_visits(self.tokens, self.train_rows, self.groups, self.layout)

    def count_views(self) -> int:
        """Count the views of pictures besides the whole ones."""
        return sum(view != WHOLE for _, view in self.pictures().values())

    def view(self, index: int) -> View:
        """Choose the view of the pictures of the group at `index` in `layout.groups`."""
        number = int(self.view_ids[index])
        if number == 0:
            return WHOLE
        members = self.groups[self.layout.groups[index]]
        sources = np.unique(self.tokens.arrays["sources"][members])
        names = {self.tokens.source_names[source] for source in sources.tolist()}
        # several pictures lose the same sides: which of them is on the left stays true
        first = self.tokens.paths[self.tokens.pictures(int(members[0]))[0]]
        return draw_view(number, self.fingerprints[first], names, self.augment)

    def train_pictures(self) -> set[str]:
        """Collect the paths of all pictures of the data that may be trained on."""
        return self.tokens.paths_of(self.train_rows)

    def pictures(self) -> dict[str, tuple[Path, View]]:
        """Collect the views that the run needs, its validation too, by their keys in a cache."""
        firsts = self.groups.members[self.groups.starts[self.layout.groups]]  # of each group's rows
        whole = self.tokens.paths_of(firsts[self.view_ids == 0])
        whole |= self.val_tokens.paths_of(self.val_rows)
        if self.starts_projector:
            whole |= self.train_pictures()
        views = {self.fingerprints[path]: (Path(path), WHOLE) for path in whole}
        for index in np.flatnonzero(self.view_ids).tolist():
            for picture in self.tokens.pictures(int(firsts[index])):  # none: only text
                path, view = self.tokens.paths[picture], self.view(index)
                views.setdefault(view.key(self.fingerprints[path]), (Path(path), view))
        return views


@dataclass(frozen=True)
class RowEncoder:
    """How a model's rows become tokens."""

    processor: Any
    context: int | None  # tokens that a row may have
    encode: Callable[[Example], Sequence[EncodedExample]]
    # rows may share what they begin with, up to its last token of this id; None: they share nothing
    shared_token: int | None
    hints: PictureHints | None = None
    opens_pictures: bool = False  # the tokens of a picture depend on its size
    paired: bool = False  # each row has an answer that is preferred and one that is rejected

    def identity(self, content: str, root: Path, pictures: Callable[[], Iterable[str]]) -> str:
        """Compute the identity of the tokens of a file with the SHA-256 `content`."""
        processor, tokenizer = self.processor, self.processor.tokenizer
        parts = [
            content,
            _TOKENS_VERSION,
            str(root),
            fingerprint.of_bytes(tokenizer.backend_tokenizer.to_str().encode()),
            [str(processor.chat_template), str(tokenizer.chat_template)],
            processor.to_dict(),
            self.context,
        ]
        if self.hints is not None:
            parts.append(self.hints.identity)
        if self.paired:
            parts.append("paired")
        if self.opens_pictures or self.hints is not None:  # names are of a picture as it is now
            parts.append([_state(path) for path in sorted({*pictures()})])
        return fingerprint.of_json(parts)


def llava_encoder(
    config: LlavaConfig,
    processor: LlavaProcessor,
    hints: PictureHints | None = None,
    paired: bool = False,
) -> RowEncoder:
    """Encode rows for a LLaVA model of the own engine, whose questions share their pictures."""
    return RowEncoder(
        processor,
        getattr(config.text_config, "max_position_embeddings", None),
        lambda example: [
            encode_example(row, processor, hints)
            for row in (preferred_and_rejected(example) if paired else (example,))
        ],
        config.image_token_index,
        hints,
        opens_pictures=has_tiles(processor.image_processor),
        paired=paired,
    )


def _state(path: str) -> list[Any]:
    """List what changes with a file's content."""
    try:
        status = os.stat(path)
    except OSError:
        return [path]
    return [path, status.st_size, status.st_mtime_ns]


def plan_rows(settings: SftSettings, encoder: RowEncoder) -> SftPlan:
    """Read the data, keep pictures for validation, and pack all epochs.

    Raises InputError with all rows that cannot be used, do not fit or name a picture that cannot be
    opened; with `skip_bad` where none is left.
    """
    files = data_files(settings, "rows with image, question and answer")
    hashes = [sha256(path) for path in files]
    tables = [
        _tokens(path, content, settings, encoder)
        for path, content in zip(files, hashes, strict=True)
    ]
    tokens, val_tokens = tables[0], tables[-1]
    opened = open_pictures(sorted({*tokens.paths, *val_tokens.paths}))
    fingerprints = opened.fingerprints
    problems = [
        _problems(path, table, fingerprints, opened.broken)
        for path, table in zip(files, tables, strict=True)
    ]
    skipped = refuse_or_skip(problems, settings.skip_bad)
    good = usable(tokens, fingerprints)
    refuse_none_left(problems[0], int(good.sum()))
    if settings.validation.data is None:
        apart = mark_validation_rows(tokens, fingerprints, settings.validation.share, settings.seed)
        train_rows = indices_of(good & ~apart & tokens.questions)
        val_rows = indices_of(apart & tokens.questions)
    else:
        train_rows = indices_of(good & tokens.questions)
        val_rows = indices_of(usable(val_tokens, fingerprints) & val_tokens.questions)
        refuse_none_left(problems[1], len(val_rows))
        paths = tokens.paths_of(train_rows), val_tokens.paths_of(val_rows)
        refuse_leaks(*paths, fingerprints, settings.validation.data)
    val_rows = draw_rows(val_rows, settings.validation.rows, settings.seed)
    groups = group_visits(tokens, train_rows, settings)
    layout = pack_epochs(tokens, groups, settings)
    draw = np.random.default_rng((settings.seed, 1))  # not the numbers that packing draws
    return SftPlan(
        tokens=tokens,
        train_rows=train_rows,
        val_tokens=val_tokens,
        val_rows=val_rows,
        fingerprints=fingerprints,
        data_fingerprint=fingerprint.of_json(hashes),
        skipped=skipped,
        groups=groups,
        layout=layout,
        starts_projector=settings.projector_start == "words",
        augment=settings.augment,
        view_ids=draw.integers(settings.augment.views, size=len(layout.groups), dtype=np.int32),
    )


def _problems(
    path: Path, tokens: TokenTable, fingerprints: Mapping[str, str], broken: Mapping[str, str]
) -> FileProblems:
    """Collect the rows of a file that cannot be used, those with `broken` pictures included."""
    problems = FileProblems(path)
    problems.notices += tokens.notices
    for line, reason in tokens.bad:
        problems.add(line, reason)
    if broken:
        for row in np.flatnonzero(~usable(tokens, fingerprints) & tokens.questions).tolist():
            paths = (tokens.paths[index] for index in tokens.pictures(row))
            problems.add_pictures(int(tokens.arrays["lines"][row]), paths, broken)
    return problems


def _tokens(path: Path, content: str, settings: SftSettings, encoder: RowEncoder) -> TokenTable:
    """Load the tokens of a file with the SHA-256 `content`."""
    root, hints = data_root(path, settings), encoder.hints

    def pictures() -> Iterator[str]:
        rows = read(path, root, bad=lambda row: None)
        return (str(image) for row in rows for image in row.images)

    return load_tokens(
        encoder.identity(content, root, pictures),
        lambda bad, notice: track(
            read(path, root, bad=bad, notice=notice), f"tokens of {path.name}"
        ),
        encoder.encode,
        encoder.shared_token,
        encoder.context,
        (lambda: hints.load(pictures())) if hints is not None else None,
        encoder.paired,
    )


def preferred_and_rejected(example: Example) -> tuple[Example, Example]:
    """Make two examples of a row with an answer and a `rejected` one; earlier answers are given.

    Raises InputError where there is no rejected answer, or it is the preferred one.
    """
    rejected = example.extra.get(REJECTED)
    if not isinstance(rejected, str) or not rejected.strip():
        raise InputError(f"no {REJECTED} answer, a text")
    if rejected.strip() == example.answers[0].strip():
        raise InputError(f"the {REJECTED} answer is the preferred one")
    earlier = tuple(replace(turn, in_loss=False) for turn in example.earlier)
    preferred = replace(example, earlier=earlier, in_loss=True)
    return preferred, replace(preferred, answers=(rejected,))


def mark_validation_rows(
    tokens: TokenTable, fingerprints: Mapping[str, str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark the rows [R] about a `share` of the pictures, at least one where there are several.

    `fingerprints` are those of the pictures' files by path. Pictures of one row, and pictures of
    equal bytes, are on the same side. Which side depends on the content and the seed alone. Rows
    with a picture that has no fingerprint are on neither side, and not marked.
    """
    good = usable(tokens, fingerprints)
    chosen = np.zeros(len(tokens), dtype=np.bool_)
    starts, pictures = tokens.arrays["picture_starts"], tokens.arrays["pictures"]
    several = np.flatnonzero((np.diff(starts) > 1) & good).tolist()
    pictures_together = [[fingerprints[path]] for path in sorted(tokens.paths_of(indices_of(good)))]
    pictures_together += [
        [fingerprints[tokens.paths[index]] for index in tokens.pictures(row)] for row in several
    ]
    groups = group_connected(pictures_together)
    validation = held_out(groups.values(), share, seed)
    apart = np.array(
        [groups.get(fingerprints.get(path, "")) in validation for path in tokens.paths],
        dtype=np.bool_,
    )
    with_pictures = (np.diff(starts) > 0) & good
    chosen[with_pictures] = apart[pictures[starts[:-1][with_pictures]]]
    return chosen


def usable(tokens: TokenTable, fingerprints: Mapping[str, str]) -> NDArray[np.bool_]:
    """Mark the rows [R] all of whose pictures could be opened, and so have a fingerprint."""
    broken = np.array([path not in fingerprints for path in tokens.paths], dtype=np.bool_)
    if not broken.any():
        return np.ones(len(tokens), dtype=np.bool_)
    starts = tokens.arrays["picture_starts"]
    before = np.concatenate([[0], np.cumsum(broken[tokens.arrays["pictures"]])])  # [P + 1]
    whole: NDArray[np.bool_] = before[starts[1:]] == before[starts[:-1]]
    return whole


def encode_example(
    example: Example, processor: LlavaProcessor, hints: PictureHints | None = None
) -> EncodedExample:
    """Encode one example: a loss is computed for every answer of its conversation."""
    images = tuple(map(str, example.images))
    blocks = blocks_before(example, hints)
    prompt = encode_row(example, processor, blocks)
    encoded = EncodedExample(images, prompt.input_ids, prompt.loss_mask)
    if len(blocks) == 1 and blocks[0]:  # rows about the picture share it, too
        block = processor.tokenizer(blocks[0], add_special_tokens=False).input_ids
        encoded = replace(encoded, shared_end=_end_of(block, prompt.input_ids))
    return encoded


def _end_of(part: Sequence[int], ids: Sequence[int]) -> int:
    """Return where `part` ends in `ids`; 0 where `ids` do not have it."""
    for start in range(len(ids) - len(part) + 1):
        if ids[start] == part[0] and list(ids[start : start + len(part)]) == list(part):
            return start + len(part)
    return 0
