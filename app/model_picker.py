"""Which model answers: what is loaded, how far it is, and the choice of another."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import streamlit as st

from app.state import host, is_local
from app.texts import plain, text
from vqa import parts
from vqa.inventory import SHARED_SPACE, entries, hub_cache
from vqa.model_choice import Choice

_LOOK_EVERY = 0.3  # seconds between two looks at how far a model is
_OTHER = ""  # the choice of a name that is not in the list


def show() -> None:
    """What is loaded; on this computer, the choice of another model."""
    now = host().choice
    shown = " + ".join(filter(None, (now.name, now.adapter, now.quantize, now.device)))
    st.caption(plain(shown))
    if not is_local():
        st.caption(text("model.fixed"))
        return
    known = _known()
    names = ["embedded", *known, *([now.name] if now.name not in ["embedded", *known] else [])]
    name = st.selectbox(
        text("model.name"), [*names, _OTHER], index=names.index(now.name), key="model-name",
        format_func=lambda one: one or text("model.other"),
    )  # fmt: skip
    if name == _OTHER:
        name = st.text_input(text("model.other_name"), key="model-other").strip()
    adapter = st.text_input(text("model.adapter"), now.adapter or "", key="model-adapter").strip()
    quantize = st.segmented_control(
        text("model.quantize"), ["none", "4bit", "8bit"], default=now.quantize or "none",
        format_func=lambda one: text("model.quantize_none") if one == "none" else one,
        key="model-quantize",
    )  # fmt: skip
    dtype = _select("dtype", ["auto", "bfloat16", "float16", "float32"], now.dtype)
    device = _select("device", ["auto", "cpu", "cuda", "mps"], now.device)
    if st.button(text("model.load"), disabled=not name):
        few = quantize if quantize in ("4bit", "8bit") else None
        host().load(Choice(name, adapter or None, device, dtype, few))  # type: ignore[arg-type]
        st.rerun()


@st.cache_data(ttl=10, show_spinner=False)
def _known() -> list[str]:
    """Names of models here that answer questions; looked up again after some seconds."""
    answering = (entry for entry in entries(Path.cwd()) if entry.kind != SHARED_SPACE)
    return [entry.name for entry in answering if entry.name != "embedded"]


def _select(name: str, options: list[str], now: str) -> str:
    options = options if now in options else [*options, now]
    at = options.index(now)
    return str(st.selectbox(text(f"model.{name}"), options, at, key=f"model-{name}"))


def is_ready() -> bool:
    """Whether the model is there."""
    return not host().loading and host().error is None


def show_state() -> None:
    """Show how far the model is until it is there, or why it will not come.

    A click elsewhere interrupts the wait, and the next run of the script goes on with it.
    """
    here = host()
    if here.loading:
        place = st.empty()
        while here.loading:
            with suppress(OSError):  # a file may be moved while it is measured
                place.progress(*_progress(here.choice.name))
            time.sleep(_LOOK_EVERY)
        st.rerun()
    if here.error is None:
        return
    st.error(plain(text("model.failed", name=here.choice.name, reason=str(here.error))))
    if not is_local():  # what model answers is not for guests to say
        return
    with st.container(horizontal=True):
        st.button(text("model.retry"), on_click=here.load, args=(here.choice,))
        if here.choice.name != "embedded":
            st.button(text("model.embedded"), on_click=here.load, args=(Choice(),))


def _progress(name: str) -> tuple[float, str]:
    """How far the model is, from 0 to 1 as far as it is known, and in words."""
    if name != "embedded":
        arrived = _arrived(name)
        key = "model.loading_mb" if arrived else "model.loading"
        return 1.0, plain(text(key, name=name, done=f"{arrived / 1e6:.0f}"))
    needed = parts.default_parts()
    total = sum(part.wheel.size for part in needed)
    done = sum(part.wheel.size for part in needed if parts.converted_path(part).is_dir())
    if done < total:
        arriving = (parts.cache_directory() / "wheels").rglob("*")
        done = min(total, done + sum(file.stat().st_size for file in arriving if file.is_file()))
    if done < total:
        words = text("model.first_start", done=f"{done / 1e6:.0f}", total=f"{total / 1e6:.0f}")
        return done / total, words
    return 1.0, text("model.loading", name=name)


def _arrived(name: str) -> int:
    """Bytes of a hub model that are in the cache, files on their way included; 0 for others."""
    blobs = hub_cache() / f"models--{name.replace('/', '--')}" / "blobs"
    return sum(file.stat().st_size for file in blobs.glob("*"))
