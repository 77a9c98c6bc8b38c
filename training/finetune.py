"""Fine-tuning: LoRA layers or the whole language model, projector and encoder learn from answers.

With LoRA it gives a plain peft directory, which names the model it belongs to; without, a plain
LLaVA directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from pydantic import model_validator
from torch import nn

from training.dry_run import Pace, hours_of, outlook, pace, show
from training.loop import fit, save
from training.memory import Estimate, available, estimate, own_memory
from training.planning import plan
from training.processes import device_of, join
from training.record import begin, describe, end
from training.report import print_report
from training.resume import refuse_another
from training.rows import prepare
from training.settings import LoraSettings, Section, TrainSettings
from vqa import checkpoints
from vqa.checkpoints import Loaded
from vqa.dtypes import dtype_of
from vqa.encoders import encoder_spec, patch_features
from vqa.errors import InputError
from vqa.model import freeze, module_report


class Trained(Section):
    """Which modules learn."""

    language: Literal["lora", "full", "frozen"] = "lora"
    projector: bool = True
    vision: bool = False


class FinetuneSettings(TrainSettings):
    """The model to start from and what learns of it, besides what every training says."""

    recipe: Literal["finetune"]
    model: str
    adapter: str | None = None  # a run on the same model to go on from; the optimizer begins anew
    train: Trained = Trained()
    quantize: Literal["4bit", "8bit"] | None = None  # the frozen language model under LoRA: QLoRA
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> FinetuneSettings:
        learns = self.train
        if learns.language == "frozen" and not (learns.projector or learns.vision):
            raise ValueError("train: nothing would learn; set language, projector or vision")
        if learns.language != "lora" and self.adapter:
            raise ValueError("adapter: it is gone on from with train.language=lora alone")
        if learns.language != "lora" and self.quantize:
            raise ValueError("quantize: quantized weights cannot learn; use train.language=lora")
        if self.projector_start == "words" and not learns.projector:
            raise ValueError("projector_start: words changes the projector; set train.projector")
        return self


def run(settings: FinetuneSettings) -> None:
    """Load, add LoRA or take an adapter, train, save it in `output` in the type of the model."""
    join(settings)
    refuse_another(settings.output, {"settings": settings.model_dump(mode="json")})
    loaded = load(settings)
    model, processor = loaded.model, loaded.processor
    pixels = settings.train.vision  # a frozen encoder's features are computed once
    prepared = prepare(settings, model, processor, pixels)
    torch.manual_seed(settings.seed)  # LoRA's first layers are drawn at random
    trained = set_up(model, settings)
    described = describe(settings, loaded.fingerprint, prepared)
    if not begin(settings.output, described):
        return
    print_report(module_report(model))
    dtype = model.dtype  # what is trained becomes float32
    trainer = fit(trained, processor, prepared, settings, pixels)
    save(trainer, settings.output, dtype, base=settings.model)
    end(settings.output, described, trainer.state.log_history, settings.model, _how(settings))


def _how(settings: FinetuneSettings) -> str:
    learns, lora = settings.train, settings.lora
    parts = []
    if learns.language == "lora":
        base = f" on {settings.quantize} weights" if settings.quantize else ""
        parts.append(f"{lora.kind} of rank {lora.rank}{base}")
    elif learns.language == "full":
        parts.append("the whole language model")
    parts += ["the projector"] * learns.projector + ["the vision encoder"] * learns.vision
    return " and ".join(parts)


def load(settings: FinetuneSettings) -> Loaded:
    """The model to start from, frozen, on the device of this process."""
    if checkpoints.is_adapter(settings.model):
        base = checkpoints.base_of(settings.model)
        raise InputError(
            f"model={settings.model} is an adapter on {base}: go on with it by model={base} "
            f"adapter={settings.model}, or make it a model with `vqa merge` first"
        )
    if settings.adapter is not None:  # before minutes go into features
        _check_adapter(settings.adapter, settings.model)
    loaded = checkpoints.load(
        settings.model, dtype=settings.dtype, device=str(device_of(settings)),
        quantize=settings.quantize,
    )  # fmt: skip
    loaded.model.model.language_model.set_attn_implementation(settings.attention)
    _keep_way_back(loaded.model)
    freeze(loaded.model)
    return loaded


def _keep_way_back(model: nn.Module) -> None:
    """Keep bitsandbytes from exchanging the kernels of 4-bit layers at the first validation.

    On CPUs that have instructions for bfloat16 it packs the weights for answering then, and its
    kernels for packed weights have no backward pass: gradients would end there without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _check_adapter(adapter: str, base: str) -> None:
    if not checkpoints.is_adapter(adapter):
        raise InputError(f"adapter={adapter}: no adapter here (adapter_config.json is missing)")
    checkpoints.check_base(adapter, base, checkpoints.resolve(base))


def dry_run(settings: FinetuneSettings) -> None:
    """Print what `run` would do, take and last; nothing is written but the tokens' cache."""
    config, processor = checkpoints.look(settings.model)
    device = device_of(settings)
    dtype = dtype_of(settings.dtype, config, str(device))
    planned = plan(settings, config, processor)
    program = own_memory()

    def estimated(changed: FinetuneSettings) -> Estimate:
        fresh = changed.model_copy(update={"adapter": None})
        longest = max(changed.row_tokens, int(planned.groups.tokens.max()))
        return estimate(
            config, changed, dtype, lambda model: set_up(model, fresh), longest,
            pixels=changed.train.vision, quantize=changed.quantize, program=program,
        )  # fmt: skip

    def hours() -> float:
        loaded = load(settings)
        found = _pace(loaded, settings, sorted(planned.trained_pictures()))
        return hours_of(found, loaded.model, processor, planned, settings)

    smaller = ((name, estimated(changed)) for name, changed in _smaller(settings))
    show(outlook(settings, planned, estimated(settings), smaller, device, hours))


def pace_of(settings: FinetuneSettings, pictures: Sequence[str]) -> Pace | None:
    """How fast a run would be here, tried on some of `pictures`; None where it does not fit."""
    config, _ = checkpoints.look(settings.model)
    device = device_of(settings)
    dtype = dtype_of(settings.dtype, config, str(device))
    needed = estimate(
        config, settings, dtype, lambda model: set_up(model, settings), settings.row_tokens,
        pixels=settings.train.vision, quantize=settings.quantize, program=own_memory(),
    )  # fmt: skip
    return _pace(load(settings), settings, pictures) if needed.fits(available(device)) else None


def _pace(loaded: Loaded, settings: FinetuneSettings, pictures: Sequence[str]) -> Pace:
    trained = set_up(loaded.model, settings)
    pixels = settings.train.vision
    return pace(trained, loaded.model, loaded.processor, pictures, settings, pixels)


def _smaller(settings: FinetuneSettings) -> Iterator[tuple[str, FinetuneSettings]]:
    """Changes that make a run smaller, the mildest first, and all of them together."""
    changes: dict[str, dict[str, Any]] = {}
    if not settings.gradient_checkpointing:
        changes["gradient_checkpointing=true"] = {"gradient_checkpointing": True}
    if settings.row_tokens > 256:
        changes["row_tokens=256"] = {"row_tokens": 256}
    lora = settings.train.model_copy(update={"language": "lora"})
    if settings.train.language == "full":
        changes["train.language=lora"] = {"train": lora}
    if settings.quantize is None:
        changes["quantize=4bit"] = {"quantize": "4bit", "train": lora}
    for name, change in changes.items():
        yield name, settings.model_copy(update=change)
    every = {key: value for change in changes.values() for key, value in change.items()}
    yield " ".join(changes), settings.model_copy(update=every)


def set_up(model: nn.Module, settings: FinetuneSettings) -> Any:
    """Let learn what the settings say: the model itself, or a peft model around it."""
    learns = settings.train
    modules = ["multi_modal_projector"] * learns.projector + ["vision_tower"] * learns.vision
    base = checkpoints.whole_name(settings.model)  # a run is used from other directories, too
    if learns.language != "lora":
        whole = ["language_model", "lm_head"] * (learns.language == "full")
        freeze(model, trainable=(*modules, *whole))
        learning: Any = model
    elif settings.adapter is None:
        learning = add_lora(model, settings.lora, base, modules)
    else:
        learning = go_on(model, settings.adapter, settings.lora, base, modules)
    if learns.vision:
        _freeze_passed_over(model)
    return learning


def _freeze_passed_over(llava: Any) -> None:
    """Freeze what of the vision tower the patch features do not come from.

    LLaVA takes those of the last layer but one. What is behind it never gets a gradient, and
    wrappers for several devices would wait for one.
    """
    tower = llava.model.vision_tower
    size = encoder_spec(llava.config.vision_config).image_size
    weight = next(tower.parameters())
    patch_features(llava, weight.new_zeros(1, 3, size, size)).sum().backward()
    for parameter in tower.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
            parameter.data = parameter.data.float()  # it runs behind what learns in float32
        parameter.grad = None


def add_lora(model: nn.Module, lora: LoraSettings, base: str, whole: list[str]) -> Any:
    """A peft model with LoRA on the language model and the modules `whole` trained as they are.

    Vision towers have layers of the same names (q_proj, ...), so the pattern starts at the language
    model. Raises InputError where it matches nothing.
    """
    pattern = rf"model\.language_model\..*\.({'|'.join(map(re.escape, lora.layers))})"
    if not any(re.fullmatch(pattern, name) for name, _ in model.named_modules()):
        linear = sorted(
            {
                name.rsplit(".", 1)[-1]
                for name, module in model.model.language_model.named_modules()
                if isinstance(module, nn.Linear)
            }
        )
        raise InputError(
            f"lora.layers {list(lora.layers)} match nothing in the language model; it has {linear}"
        )
    adapted = get_peft_model(model, LoraConfig(target_modules=pattern, **_options(lora, whole)))
    # peft would note the directory it was loaded from, which is another on each machine
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def _options(lora: LoraSettings, whole: list[str]) -> dict[str, Any]:
    """The settings under peft's names."""
    return {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_dora": lora.kind == "dora",
        "use_rslora": lora.kind == "rslora",
        "modules_to_save": whole or None,
    }


def go_on(model: nn.Module, adapter: str, lora: LoraSettings, base: str, whole: list[str]) -> Any:
    """A peft model with the LoRA layers and whole modules of an earlier run, to be trained further.

    Raises InputError where other things were trained then.
    """
    adapted = checkpoints.add_adapter(model, adapter, is_trainable=True)
    config = adapted.peft_config["default"]
    for name, wanted in _options(lora, whole).items():
        found = getattr(config, name)
        if name == "modules_to_save":  # in no order
            found, wanted = sorted(found or ()), sorted(wanted or ())
        if found != wanted:
            raise InputError(
                f"adapter={adapter} was trained with {name}={found}, not {wanted}: set lora and "
                "train as they were then"
            )
    config.base_model_name_or_path = base
    return adapted


if __name__ == "__main__":  # python -m training.finetune CONFIG [key=value ...]
    import sys

    from vqa.cli import main

    main(["train", *sys.argv[1:]])
