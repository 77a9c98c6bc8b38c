"""The recipe `finetune`: LoRA layers or the language model, projector and encoder learn.

With LoRA it gives a plain peft directory, which names the model it belongs to; else a plain LLaVA
directory comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from torch import nn
from transformers import LlavaProcessor

from training.common.memory import MemoryEstimate, available, own_memory
from training.common.processes import device_of
from training.common.recipe import ModelCard
from training.sft.data import SftPlan
from training.sft.estimates import Pace
from training.sft.hints import PictureHints
from training.sft.lora import add_lora, continue_adapter, lora_layers
from training.sft.model import SftRecipe
from training.sft.packing import set_attention
from training.sft.settings import FinetuneSettings, HintTrainSettings, TrainedModules
from vqa.errors import InputError
from vqa.models import checkpoints, runs
from vqa.models.checkpoints import LoadedModel
from vqa.models.encoders import encoder_spec, patch_features
from vqa.models.llava import freeze
from vqa.models.name_classifier import (
    HintSettings,
    NameClassifier,
    find_name_classifier,
    has_hints,
    open_name_classifier,
)
from vqa.models.submodules import submodules


class FinetuneRecipe(SftRecipe[FinetuneSettings]):
    """Train LoRA layers or the language model, and the projector and the encoder if set."""

    settings_class = FinetuneSettings
    loader: Any = checkpoints  # the module that loads models of this kind

    def __init__(self, settings: FinetuneSettings) -> None:
        super().__init__(settings)
        self.pixels = settings.train.vision  # a frozen encoder's features are computed once
        self.base = settings.model

    @cached_property  # before minutes go into weights and features
    def _checked_model(self) -> str:
        """The model to start from. Raises InputError where it, or the adapter, does not serve."""
        settings = self.settings
        _check_finished("model", settings.model)
        if checkpoints.is_adapter(settings.model):
            base = checkpoints.base_of(settings.model)
            raise InputError(
                f"model={settings.model} is an adapter on {base}: go on with it by model={base} "
                f"adapter={settings.model}, or make it a model with `vqa merge` first"
            )
        if settings.adapter is not None:
            _check_adapter(settings.adapter, settings.model)
        return settings.model

    @cached_property
    def _config_and_processor(self) -> tuple[Any, LlavaProcessor]:
        return self.loader.load_config_and_processor(self._checked_model)

    @property
    def config(self) -> Any:
        return self._config_and_processor[0]

    @property
    def processor(self) -> LlavaProcessor:
        return self._config_and_processor[1]

    @cached_property
    def process_bytes(self) -> int:  # type: ignore[override]
        """Bytes of the process without the model."""
        return own_memory()

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model to start from, frozen, on the device of this process."""
        settings = self.settings
        loaded: LoadedModel = self.loader.load(
            self._checked_model, dtype=settings.dtype, device=str(device_of(settings)),
            quantize=settings.quantize,
        )  # fmt: skip
        set_attention(loaded.model, settings.attention)
        if settings.train.language == "lora":
            lora_layers(loaded.model, settings.lora)  # before minutes go into features
        _keep_gradients(loaded.model)
        freeze(loaded.model)
        return loaded

    @cached_property
    def classifier(self) -> NameClassifier | None:  # type: ignore[override]
        """The model's classifier, which gives the names that the config or the model asks for."""
        settings = self.settings
        sources = [checkpoints.resolve_source(settings.model), *filter(None, [settings.adapter])]
        chosen = settings.hints
        if chosen is not None:
            hints = HintSettings(chosen.most, chosen.least, chosen.parts)
            return open_name_classifier(sources, self.loaded.model.model.vision_tower, hints)
        if not has_hints(sources):
            return None
        return find_name_classifier(sources, self.loaded.model.model.vision_tower)

    def picture_hints(self) -> PictureHints | None:
        """Make what names the pictures as the config says, else as the model was trained."""
        classifier, settings = self.classifier, self.settings
        if classifier is None:
            return None
        chosen = settings.hints or HintTrainSettings(
            **asdict(classifier.settings), drop=0.0, swap=0.0
        )
        image_processor = self.processor.image_processor
        return PictureHints(self.loaded.model, image_processor, classifier, chosen, settings.seed)

    @property
    def model_fingerprint(self) -> str:
        return self.loaded.fingerprint

    def build(self, plan: SftPlan) -> Any:
        """Load the model to start from."""
        return self.loaded.model

    def set_trainable(self, model: nn.Module, settings: FinetuneSettings) -> nn.Module:
        """Set what learns; return the model, or a peft model around it."""
        learns, parts = settings.train, submodules(model)
        modules = trained_modules(model, learns)
        base = checkpoints.absolute_name(settings.model)  # a run is used elsewhere, too
        if learns.language != "lora":
            language = [parts.language, *parts.head] if learns.language == "full" else []
            freeze(model, trainable=(*modules, *language))
            trained: Any = model
        elif settings.adapter is None:
            trained = add_lora(model, settings.lora, base, modules)
        else:
            trained = continue_adapter(model, settings.adapter, settings.lora, base, modules)
        if learns.vision:
            self.freeze_unused(model)
        return trained

    def freeze_unused(self, model: Any) -> None:
        """Freeze the parameters of the vision tower that the patch features do not depend on.

        LLaVA takes the features of the last layer but one. What is behind it never gets a gradient,
        and wrappers for several devices would wait for one.
        """
        tower = model.model.vision_tower
        size = encoder_spec(model.config.vision_config).image_size
        weight = next(tower.parameters())
        patch_features(model, weight.new_zeros(1, 3, size, size)).sum().backward()
        for parameter in tower.parameters():
            if parameter.grad is None:
                parameter.requires_grad_(False)
                parameter.data = parameter.data.float()  # it runs behind what learns in float32
            parameter.grad = None

    def estimate_with(self, settings: FinetuneSettings, longest: int = 0) -> MemoryEstimate:
        """Estimate the memory of a step under other `settings`; an adapter counts as new layers."""
        return super().estimate_with(settings.model_copy(update={"adapter": None}), longest)

    def memory_savings(self) -> dict[str, dict[str, Any]]:
        """List settings that make a run smaller, the mildest first, by their text."""
        settings = self.settings
        changes = super().memory_savings()
        lora = settings.train.model_copy(update={"language": "lora"})
        if settings.train.language == "full":
            changes["train.language=lora"] = {"train": lora}
        if settings.quantize is None:
            changes["quantize=4bit"] = {"quantize": "4bit", "train": lora}
        return changes

    def card(self, plan: SftPlan) -> ModelCard:
        """Describe the result for its model card."""
        learns, lora = self.settings.train, self.settings.lora
        parts = []
        if learns.language == "lora":
            base = f" on {self.settings.quantize} weights" if self.settings.quantize else ""
            parts.append(f"{lora.kind} of rank {lora.rank}{base}")
        elif learns.language == "full":
            parts.append("the whole language model")
        parts += ["the projector"] * learns.projector + ["the vision encoder"] * learns.vision
        return ModelCard(self.settings.model, " and ".join(parts))

    def pace(self, pictures: Sequence[str]) -> Pace | None:
        """Measure how fast a run is here, on some of `pictures`; None where it does not fit."""
        if not self.estimate_with(self.settings).fits(available(device_of(self.settings))):
            return None
        return self._pace(self.loaded.model, pictures)


def _keep_gradients(model: nn.Module) -> None:
    """Keep bitsandbytes from exchanging the kernels of 4-bit layers at the first validation.

    On CPUs that have instructions for bfloat16 it packs the weights for answering then, and its
    kernels for packed weights have no backward pass: gradients would end there without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _check_finished(key: str, name: str) -> None:
    """Raise InputError for a run that is not finished: its weights are others when it goes on."""
    checkpoint = runs.resolve_weights(name)
    if checkpoint != name:
        raise InputError(
            f"{key}={name}: this run is not finished; give the command that trains it again first, "
            f"or start from a copy of its last checkpoint, {checkpoint}"
        )


def _check_adapter(adapter: str, base: str) -> None:
    _check_finished("adapter", adapter)
    if not checkpoints.is_adapter(adapter):
        raise InputError(f"adapter={adapter}: no adapter here (adapter_config.json is missing)")
    checkpoints.check_base(adapter, base, checkpoints.resolve_source(base))


def trained_modules(model: Any, learns: TrainedModules) -> list[str]:
    """Name the modules beside the language model that learn, by their ends, as peft matches them.

    The projector of some kinds is a part of the encoder, and learns with it in any case.
    """
    parts, names = submodules(model), [name for name, _ in model.named_modules()]
    paths = [parts.vision] if learns.vision and parts.vision else []
    if learns.projector:
        inside = tuple(f"{path}." for path in paths)
        paths = [path for path in parts.projector if not path.startswith(inside)] + paths
    return [shorten_module_path(path, names) for path in paths]


def shorten_module_path(path: str, names: Sequence[str]) -> str:
    """Shorten a module's path, unless another module's ends alike: `vit_merger` as `merger`."""
    short = path.removeprefix("model.")
    return short if [name for name in names if name.endswith(short)] == [path] else path
