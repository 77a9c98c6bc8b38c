"""The first screen: which model answers, what it can do and what it cannot, each to be tried."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import composer
from app.state import host
from app.texts import plain, text
from app.thumbnails import crop, examples, upload_of

# Of the model that ships, as its card measures it: an example's name, and what to ask about it.
_TRIALS = {
    "good": {
        "names": ("cat", "What animal is this?"),
        "presence": ("coffee", "Is there a cup in the picture?"),
        "captions": ("cat", "Describe the picture."),
    },
    "cannot": {
        "count": ("astronaut", "How many rockets are there?"),
        "read": ("astronaut", "What is written on the suit?"),
        "people": ("astronaut", "Who is this?"),
    },
}


def show(ask: Callable[[str], None]) -> None:
    """Say what to do, and offer pictures and questions to try; `ask` asks about the draft."""
    st.write(text("chat.hint"))
    choice = host().choice
    where = {"model": " + ".join(filter(None, (choice.name, choice.adapter))), "device": _device()}
    st.caption(plain(text("welcome.model" if where["device"] else "welcome.model_only", **where)))
    if choice.name == "embedded" and choice.adapter is None:
        _trials(ask)
    st.caption(text("chat.examples"))
    with st.container(key="examples", horizontal=True):
        for path in examples():
            with st.container(key=f"sample-{path.stem}", width=150):  # clicked anywhere: page.css
                name = text(f"examples.{path.stem}")
                st.image(crop(path), alt=name)
                st.button(
                    name,
                    key=f"example-{path.stem}",
                    width="stretch",
                    on_click=composer.add,
                    args=(upload_of(path),),
                )


def _device() -> str:
    """Return where the model computes; empty where it is not loaded, or computes elsewhere."""
    if host().loading or host().error is not None:
        return ""
    loaded = getattr(host().worker().answerer, "loaded", None)
    return str(loaded.model.device).upper() if loaded is not None else ""


def _trials(ask: Callable[[str], None]) -> None:
    reads = host().choice.read != "never"
    for heading, trials in _TRIALS.items():
        icon = "check" if heading == "good" else "close"
        st.markdown(f"**{text(f'welcome.{heading}')}**")
        with st.container(horizontal=True, gap="small"):
            for name, (picture, question) in trials.items():
                if name == "read" and reads:
                    continue
                st.button(
                    text(f"welcome.{name}"),
                    key=f"try-{name}",
                    icon=f":material/{icon}:",
                    help=question,
                    on_click=_try,
                    args=(ask, picture, question),
                )


def _try(ask: Callable[[str], None], picture: str, question: str) -> None:
    path = next(path for path in examples() if path.stem == picture)
    composer.add(upload_of(path))
    ask(question)
