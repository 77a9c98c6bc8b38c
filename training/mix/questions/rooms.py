"""What is in a room and what is not: from what people ask about it, or from its kind."""

from __future__ import annotations

from functools import cache

from training.mix.picture import Picture
from training.mix.questions.words import normal_text
from training.mix.tables import document


def present_and_absent(picture: Picture) -> tuple[set[str], set[str]]:
    """List things that are there and things that are not; both empty where nothing is known."""
    table = document("rooms")
    if picture.scene:
        scene = table["scenes"].get(picture.scene, {})
        return set(scene.get("present", ())), set(scene.get("absent", ()))
    if not picture.questions:
        return set(), set()
    text = "".join(
        normal_text(part.replace("_", " ")) for pair in picture.questions for part in pair
    )
    present = {name for name, words in _things().items() if any(f" {w} " in text for w in words)}
    absent: set[str] = set()
    for room in table["absent"]:
        if present & set(room["cue"]):
            absent |= set(room["not"])
    return present, absent - present


@cache
def _things() -> dict[str, tuple[str, ...]]:
    things = [tuple(line.split("|")) for line in document("rooms")["things"]]
    return {words[0]: words for words in things}
