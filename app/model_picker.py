"""Which model answers: what is loaded, how far it is, and the choice of another."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import streamlit as st

from app.state import host, is_local
from app.texts import plain, text
from vqa import parts
from vqa.inventory import entries, hub_cache
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
    known = [entry.name for entry in entries(Path.cwd()) if entry.name != "embedded"]
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
    device = st.selectbox(
        text("model.device"), ["auto", "cpu", "cuda", "mps"], key="model-device",
        index=["auto", "cpu", "cuda", "mps"].index(now.device),
    )  # fmt: skip
    if st.button(text("model.load"), disabled=not name):
        few = quantize if quantize in ("4bit", "8bit") else None
        host().load(Choice(name, adapter or None, device, now.dtype, few))  # type: ignore[arg-type]
        st.rerun()


def wait_until_ready() -> bool:
    """Show how far the model is until it is there, or why it will not come; whether it is there.

    A click elsewhere interrupts the wait, and the next run of the script goes on with it.
    """
    here = host()
    place = st.empty()
    while here.loading:
        with suppress(OSError):  # a file may be moved while it is measured
            place.progress(*_progress(here.choice.name))
        time.sleep(_LOOK_EVERY)
    place.empty()
    if here.error is None:
        return True
    st.error(plain(text("model.failed", name=here.choice.name, reason=str(here.error))))
    with st.container(horizontal=True):
        st.button(text("model.retry"), on_click=here.load, args=(here.choice,))
        if here.choice.name != "embedded":
            st.button(text("model.embedded"), on_click=here.load, args=(Choice(),))
    return False


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
