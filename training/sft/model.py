"""What the recipes of a LLaVA model share: rows, trainer, estimates and how the result is saved."""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeVar

import torch
from accelerate import PartialState
from peft import PeftModel
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from training.common.features import (
    FeatureCache,
    cache_directory,
    cached_tower,
    features_of,
    pixels_of,
)
from training.common.memory import MemoryEstimate, gigabytes
from training.common.processes import device_of
from training.common.questions import QuestionSet
from training.common.recipe import PreparedRun, Recipe
from training.common.rows import TrainRows
from training.common.views import WHOLE, View
from training.sft.data import RowEncoder, SftPlan, llava_encoder, plan_rows
from training.sft.estimates import Pace, estimate, forward_plain_row, measure_pace
from training.sft.hints import PictureHints
from training.sft.packing import PackedRows, PrefixGroups, RowLayout, pack, stack_rows
from training.sft.settings import SftSettings
from training.sft.start import start_from_words
from training.sft.tokens import TokenTable
from training.sft.trainer import SftTrainer
from training.sft.visits import group_rows
from vqa.errors import InputError
from vqa.metrics import get_metric
from vqa.models.bundled.conversion import make_config_portable
from vqa.models.devices import dtype_of
from vqa.models.finite import check_weights
from vqa.models.llava import ModuleReport, module_report
from vqa.models.name_classifier import NameClassifier
from vqa.utils.files import replaced_files

SftT = TypeVar("SftT", bound=SftSettings)
# packs the groups of a token table into rows, each group in its view
RowMaker = Callable[[TokenTable, PrefixGroups, RowLayout, Callable[[int], View]], TrainRows]


def compile_layers(layers: nn.ModuleList) -> None:
    """Compile a decoder's layers for the shape of their first call; another is compiled anew.

    Raises InputError where a CPU's code cannot be built.
    """
    on_cpu = next(layers.parameters()).device.type == "cpu"
    if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise InputError("torch_compile=true needs a C++ compiler (g++): install one, or leave it")
    for layer in layers:
        layer.compile(dynamic=False)


class SftRecipe(Recipe[SftT, SftPlan]):
    """Training of a LLaVA model on packed rows of questions and answers."""

    memory_advice = (
        "set gradient_checkpointing=true, a smaller row_tokens, quantize=4bit or "
        "train.language=lora; `vqa train CONFIG --dry-run` tells what each of them takes"
    )
    # True where the encoder learns too: rows then hold pixels instead of cached features
    pixels = False
    base: str | None = None  # of the adapter that is trained
    classifier: NameClassifier | None = None  # whose names stand before the questions
    process_bytes: int  # bytes of the process without the model
    rows_class: ClassVar[type[PackedRows]] = PackedRows
    trainer_class: ClassVar[type[SftTrainer]] = SftTrainer
    paired: ClassVar[bool] = False  # rows have two answers, of which the first is preferred

    @property
    @abstractmethod
    def config(self) -> Any:
        """The LLaVA model's config."""

    @property
    @abstractmethod
    def processor(self) -> LlavaProcessor:
        """The model's processor."""

    @property
    @abstractmethod
    def model_fingerprint(self) -> str:
        """Identity of the weights before any training."""

    @abstractmethod
    def set_trainable(self, model: nn.Module, settings: SftT) -> nn.Module:
        """Set what learns; return the model, or a peft model around it."""

    def memory_savings(self) -> dict[str, dict[str, Any]]:
        """List settings that make a run smaller, the mildest first, by their text."""
        changes: dict[str, dict[str, Any]] = {}
        if not self.settings.gradient_checkpointing:
            changes["gradient_checkpointing=true"] = {"gradient_checkpointing": True}
        if self.settings.rows_at_once > 1:
            changes["rows_at_once=1"] = {"rows_at_once": 1}
        if self.settings.row_tokens > 256:
            changes["row_tokens=256"] = {"row_tokens": 256}
        return changes

    def plan(self) -> SftPlan:
        """Read the data, keep pictures for validation, and pack all epochs."""
        encoder = self.encoder()
        with PartialState().main_process_first():  # the others find the tokens on disk
            return plan_rows(self.settings, encoder)

    def encoder(self) -> RowEncoder:
        """Make what encodes the rows."""
        return llava_encoder(self.config, self.processor, self.picture_hints(), self.paired)

    def picture_hints(self) -> PictureHints | None:
        """Make what names pictures before the questions; None where the model knows no hints."""
        return None

    def prepare(self, plan: SftPlan, model: Any) -> PreparedRun:
        """Make the rows that are trained on and those that are measured, and set what learns."""
        settings = self.settings
        identity = self.model_fingerprint  # before features give the projector its start
        rows = self.row_maker(plan, model)
        train = rows(plan.tokens, plan.groups, plan.layout, plan.view)
        validation = None
        if len(plan.val_rows):
            groups = group_rows(plan.val_tokens, plan.val_rows, settings)
            layout = pack(groups.tokens, settings.row_tokens, settings.seed)
            measured = list(plan.val_tokens.examples(plan.val_rows))
            scoring = get_metric(settings.validation.metric)
            validation = QuestionSet(
                rows(plan.val_tokens, groups, layout, lambda index: WHOLE), measured, scoring
            )
        torch.manual_seed(settings.seed)  # LoRA's first layers are drawn at random
        trained = self.set_trainable(model, settings)
        if settings.torch_compile:
            compile_layers(model.model.language_model.layers)
        return PreparedRun(trained, train, validation, identity)

    def row_maker(self, plan: SftPlan, model: Any) -> RowMaker:
        """Make what packs rows; compute the features that are missing, and start the projector."""
        settings, image_processor = self.settings, self.processor.image_processor
        if self.pixels:
            pictures = pixels_of(image_processor)
        else:
            pictures = features_of(model, image_processor, plan.pictures(), plan.fingerprints)
        if settings.projector_start == "words":
            examples = plan.tokens.examples(plan.train_rows)
            start_from_words(model, self.processor, examples, plan.train_pictures(), pictures)
        multiple = settings.row_tokens if settings.torch_compile else 1
        return lambda tokens, groups, layout, view: self.rows_class(
            tokens, groups, layout, pictures, model.dtype, view, multiple
        )

    def report(self, model: nn.Module) -> Sequence[ModuleReport]:
        """List encoder, projector and language model: what learns and what is frozen."""
        return module_report(model)

    def while_training(self, model: nn.Module) -> AbstractContextManager[None]:
        """Make the model take cached features, unless the encoder learns."""
        return nullcontext() if self.pixels else cached_tower(model)

    def arguments(self) -> dict[str, Any]:
        """Turn gradient checkpointing on where it is set."""
        if not self.settings.gradient_checkpointing:
            return {}
        return {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }

    def collate(self, rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Join the rows that go through the model at once."""
        return rows[0] if len(rows) == 1 else stack_rows(rows)

    def trainer(self, **options: Any) -> SftTrainer:
        """Make the Trainer."""
        return self.trainer_class(
            processor=self.processor, base=self.base, classifier=self.classifier, **options
        )

    def save(self, trainer: SftTrainer) -> None:
        """Write an adapter, or a LLaVA model, in the type of the model that the run started from.

        The files are written apart and then take their places, the one that names the rest last.
        """
        dtype, output = trainer.train_dataset.dtype, self.settings.output
        sharded = trainer.sharded
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
        trained: Any = trainer.model
        for parameter in trained.parameters():
            if parameter.dtype == torch.float32:  # what has learned, and what ran behind it
                parameter.data = parameter.data.to(dtype)
        if not trainer.is_world_process_zero():
            return
        named = trained.named_parameters()
        check_weights(named, f"it does not fit into {dtype}; set dtype=float32")
        if state is not None:
            state = {name: value.to(dtype) for name, value in state.items()}
        with replaced_files(output, last=("adapter_config.json", "config.json")) as directory:
            if isinstance(trained, PeftModel):
                trainer.save_adapter(directory, state)
            else:
                trained.save_pretrained(directory, state_dict=state)
                self.processor.save_pretrained(directory)
                make_config_portable(directory)
                if self.classifier is not None:
                    self.classifier.save(directory)

    def estimate(self, plan: SftPlan) -> MemoryEstimate:
        """Estimate the memory of a step on the longest row."""
        return self.estimate_with(self.settings, int(plan.groups.tokens.max()))

    def estimate_with(self, settings: SftT, longest: int = 0) -> MemoryEstimate:
        """Estimate the memory of a step under other `settings`."""
        dtype = dtype_of(settings.dtype, self.config, str(device_of(settings)))
        return estimate(
            self.config, settings, dtype, lambda model: self.set_trainable(model, settings),
            max(settings.row_tokens, longest), self.forward,
            quantize=getattr(settings, "quantize", None), process_bytes=self.process_bytes,
        )  # fmt: skip

    def forward(self, model: Any, length: int, dtype: torch.dtype) -> None:
        """Run a row of `length` tokens through a model of fake tensors, for an estimate."""
        forward_plain_row(model, length, dtype, self.pixels)

    def advice(self, plan: SftPlan, free: int) -> Iterator[str]:
        """List changes that make the run smaller, and what it takes under each."""
        changes, longest = self.memory_savings(), int(plan.groups.tokens.max())
        changes[" ".join(changes)] = {
            key: value for change in changes.values() for key, value in change.items()
        }
        for text, change in changes.items():
            needed = self.estimate_with(self.settings.model_copy(update=change), longest)
            fits = "fits" if needed.fits(free) else "does not fit alone"
            yield f"{text}: {gigabytes(needed.total)}, {fits}"

    def seconds(self, plan: SftPlan) -> float:
        """Estimate the time of all rows and of the features that the cache lacks."""
        model, image_processor = self.build(plan), self.processor.image_processor
        pace = self._pace(model, sorted(plan.train_pictures()))
        cache = FeatureCache(cache_directory(model, image_processor))
        missing = sum(key not in cache for key in plan.pictures())
        seconds = len(plan.layout) * self.settings.row_tokens * pace.seconds_a_token
        return seconds + missing * pace.seconds_a_picture

    def _pace(self, model: LlavaForConditionalGeneration, pictures: Sequence[str]) -> Pace:
        trained, settings = self.set_trainable(model, self.settings), self.settings
        image_processor = self.processor.image_processor
        return measure_pace(trained, model, image_processor, pictures, settings, self.pixels)
