"""What stands before the questions about a training picture: names of what it shows, its text.

The encoder's classifier gives the names; the text that was read comes with the rows.

Some pictures get no block and some that of another picture: a model that reads right names alone
would repeat them instead of looking.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import BaseImageProcessor, LlavaForConditionalGeneration

from training.common.features import by_crop, cache_directory, cache_features
from training.common.pictures import open_pictures
from training.common.views import WHOLE
from training.sft.settings import HintTrainSettings
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.inputs.hints import Name, joined_blocks, names_block, text_block
from vqa.models.name_classifier import NameClassifier
from vqa.utils import fingerprint


class PictureHints:
    """The block of names of each picture of a run, by the picture's path."""

    def __init__(
        self, model: LlavaForConditionalGeneration, image_processor: BaseImageProcessor,
        classifier: NameClassifier, settings: HintTrainSettings, seed: int,
    ) -> None:  # fmt: skip
        self._model = model
        self._image_processor = image_processor
        self._classifier = classifier
        self._settings = settings
        self._seed = seed
        self._blocks: dict[str, str] = {}

    @property
    def identity(self) -> str:
        """What the blocks depend on, apart from the pictures."""
        return fingerprint.of_json(
            [
                cache_directory(self._model, self._image_processor).name,
                self._classifier.fingerprint,
                self._settings.model_dump(mode="json"),
                self._seed,
            ]
        )

    def load(self, paths: Iterable[str]) -> None:
        """Name the pictures at `paths`; compute the features that the cache lacks."""
        opened = open_pictures(sorted(set(paths)))
        files = {digest: (Path(path), WHOLE) for path, digest in opened.fingerprints.items()}
        features = cache_features(self._model, self._image_processor, files)
        named: dict[str, str] = {}
        for digest in files:
            overview = by_crop(features[digest])[:1]  # [1, N, Dv]
            named[digest] = names_block(self._classifier(overview.float())[0])
        self._blocks = self._varied(
            {path: named[digest] for path, digest in opened.fingerprints.items()}
        )

    def _varied(self, blocks: dict[str, str]) -> dict[str, str]:
        """Drop the blocks of some pictures, and give some that of another one."""
        others = sorted(set(blocks.values()))
        varied = {}
        for path, block in blocks.items():
            draw = random.Random(f"{self._seed}/{Path(path).name}")
            number = draw.random()
            if number < self._settings.drop:
                block = ""
            elif number < self._settings.drop + self._settings.swap:
                block = draw.choice(others)
            varied[path] = block
        return varied

    def of(self, example: Example) -> list[str]:
        """Return the blocks of a row's pictures; none for one that cannot be opened.

        The column `hint_names` of a row about one picture, pairs of a name and its probability,
        stands in the place of what the classifier names. Raises InputError for other values in it.
        """
        given = example.extra.get("hint_names")
        if given is not None and len(example.images) == 1:
            return [names_block(_names(given))]
        return [self._blocks.get(str(path), "") for path in example.images]


def blocks_before(example: Example, hints: PictureHints | None) -> list[str]:
    """Return the blocks that stand before the questions about a row's pictures.

    The column `hint_text` of a row about one picture, rows of text that were read in it, stands
    there as in answering, with or without names. Raises InputError for other values in it.
    """
    blocks = hints.of(example) if hints is not None else [""] * len(example.images)
    rows = example.extra.get("hint_text")
    if rows is None or len(blocks) != 1:
        return blocks
    if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
        raise InputError("hint_text: a list of rows of text is expected")
    return [joined_blocks(blocks[0], text_block(rows))]


def _names(given: Any) -> list[Name]:
    try:
        return [Name(str(name), float(probability)) for name, probability in given]
    except (TypeError, ValueError) as error:
        raise InputError("hint_names: pairs of a name and its probability are expected") from error
