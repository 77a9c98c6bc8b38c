"""Load whatever answers here: LLaVA, any other vision-language model, a fusion model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.answering import Answerer, LocalAnswerer
    from vqa.chat.page_options import ModelChoice
    from vqa.engine import GenerateAnswerer, LocalEngine
    from vqa.fusion.storage import LoadedFusion
    from vqa.models.checkpoints import LoadedModel
    from vqa.reading import ReadMode, TextReader

log = logging.getLogger(__name__)


def load(
    model: str = "embedded",
    adapter: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Literal["4bit", "8bit"] | None = None,
    read: ReadMode | TextReader | None = "never",
    *,
    max_batch: int = 16,
    prefix_bytes: int = 1 << 30,
) -> LocalAnswerer:
    """Load a model of this machine; the arguments are those of `vqa.models.checkpoints.load`.

    With `read` the text in pictures is read and stands before the questions about them; several
    models may share a reader. It answers `max_batch` requests at once, and LLaVA's engine caches
    up to `prefix_bytes` of keys and values.

    Takes seconds, or minutes where it has to be fetched. Raises InputError for what is no model.
    """
    quiet_loading()
    from vqa.models.model_files import is_fusion

    reader = text_reader(read) if isinstance(read, str) else read
    if is_fusion(model):
        from vqa.fusion.answerer import FusionAnswerer

        fusion = load_fusion(model, adapter, device, dtype, quantize, reader)
        return FusionAnswerer(fusion, max_batch=max_batch)
    return answerer_of(
        load_generative(model, adapter, device, dtype, quantize),
        max_batch=max_batch,
        prefix_bytes=prefix_bytes,
        reader=reader,
    )


def load_adapters(
    model: str,
    adapters: Mapping[str, str | None],
    device: str = "auto",
    dtype: str = "auto",
    quantize: Literal["4bit", "8bit"] | None = None,
    reader: TextReader | None = None,
) -> dict[str, Answerer]:
    """Load a model once, for answerers with these adapters on it (None: without).

    They share its weights, and each has its adapter's beside them. A single one has them merged,
    as `load` does. Raises InputError as that.
    """
    from vqa.models.checkpoints import base_of, is_adapter, share
    from vqa.models.model_files import is_fusion

    if len(adapters) == 1 or is_fusion(model):
        return {
            name: load(model, adapter, device, dtype, quantize, reader)
            for name, adapter in adapters.items()
        }
    quiet_loading()
    if is_adapter(model):
        adapters = {name: adapter or model for name, adapter in adapters.items()}
        model = base_of(model)
    base = load_generative(model, None, device, dtype, quantize)
    # all models before the first answerer, which may leave something at its model
    models = {name: share(base, each) if each else base for name, each in adapters.items()}
    return {name: answerer_of(loaded, reader=reader) for name, loaded in models.items()}


def load_generative(
    model: str,
    adapter: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Literal["4bit", "8bit"] | None = None,
) -> LoadedModel:
    """Load a model that writes its answers: LLaVA, or any other kind that transformers knows."""
    from vqa.models.image_text import load_any

    return load_any(model, adapter=adapter, device=device, dtype=dtype, quantize=quantize)


def answerer_of(
    loaded: LoadedModel,
    *,
    max_batch: int = 16,
    prefix_bytes: int = 1 << 30,
    reader: TextReader | None = None,
) -> LocalEngine | GenerateAnswerer:
    """Answer by a model: LLaVA by the own engine, any other by transformers' `generate`."""
    from vqa.engine import GenerateAnswerer, LocalEngine

    if loaded.is_llava:
        return LocalEngine(loaded, max_batch=max_batch, prefix_bytes=prefix_bytes, reader=reader)
    return GenerateAnswerer(loaded, max_batch=max_batch, reader=reader)


def check_generative(model: str) -> None:
    """Raise InputError for what cannot be such a model, by its config and processor alone."""
    from vqa.models.image_text import load_any_config_and_processor

    load_any_config_and_processor(model)


def text_reader(read: ReadMode, stored: bool = True) -> TextReader | None:
    """Make what reads the text in pictures; None for "never".

    What it reads is `stored` in this user's cache; not for what others send, who did not ask for
    that. Raises InputError for "always" where the extra `read` is not installed; "auto" says so
    and does without.
    """
    if read == "never":
        return None
    from vqa.reading import LineStore, TextReader
    from vqa.utils.cache import cache_dir

    try:
        return TextReader(read, store=LineStore(cache_dir() / "text.sqlite") if stored else None)
    except InputError as error:
        if read == "always":
            raise
        log.warning("vqa: no text is read in pictures: %s", error)
        return None


def load_choice(choice: ModelChoice) -> Answerer:
    """Load the model that was chosen for the page."""
    reader = text_reader(choice.read, stored=False)
    return load(choice.name, choice.adapter, choice.device, choice.dtype, choice.quantize, reader)


def load_fusion(
    model: str,
    adapter: str | None,
    device: str,
    dtype: str,
    quantize: str | None,
    reader: TextReader | None = None,
) -> LoadedFusion:
    """Load a fusion model; InputError for options that only language models know."""
    check_fusion(model, adapter, quantize)
    if reader is not None and reader.mode == "always":
        raise InputError(f"{model} is a fusion model, which takes no text")
    if dtype not in ("auto", "float32"):
        raise InputError(f"`dtype` {dtype}: {model} is a fusion model, which computes in float32")
    from vqa.fusion.storage import load

    return load(model, device)


def check_fusion(model: str, adapter: str | None, quantize: str | None) -> None:
    """Raise InputError where a fusion model is asked for with what only language models know."""
    from vqa.models.model_files import is_fusion

    for name, value in (("adapter", adapter), ("quantize", quantize)):
        if value is not None and is_fusion(model):
            raise InputError(f"`{name}` {value}: {model} is a fusion model, which takes none")


def quiet_loading() -> None:
    """Show no bar for reading weights that are here, a second's work; downloads keep theirs."""
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # those of downloads, too
    enable_progress_bars()
