"""Which pictures are kept from training: by content, so that no copy is on both sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.tokens import Tokens
from vqa import fingerprint

_DIGITS = 8


def kept_apart(
    tokens: Tokens, prints: Mapping[str, str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark the rows [R] about a `share` of the pictures, at least one where there are several.

    `prints` are fingerprints of the pictures' files by path. Pictures of one row, and pictures of
    equal bytes, go to the same side together. Which side depends on the content and the seed alone.
    """
    chosen = np.zeros(len(tokens), dtype=np.bool_)
    if not share:
        return chosen
    together = _components(tokens, prints)  # place in `paths` -> the least fingerprint beside it
    names = sorted(set(together), key=lambda name: fingerprint.of_json([name, seed]))
    if len(names) < 2:
        return chosen
    limit = int(share * 16**_DIGITS)
    out = [n for n in names if int(fingerprint.of_json([n, seed])[:_DIGITS], 16) < limit]
    held = set(out or names[:1])
    if len(held) == len(names):
        held.remove(names[-1])
    apart = np.array([name in held for name in together])
    starts, pictures = tokens.arrays["picture_starts"], tokens.arrays["pictures"]
    with_pictures = np.flatnonzero(np.diff(starts))
    chosen[with_pictures] = apart[pictures[starts[with_pictures]]]
    return chosen


def _components(tokens: Tokens, prints: Mapping[str, str]) -> list[str]:
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    starts = tokens.arrays["picture_starts"]
    for row in np.flatnonzero(np.diff(starts) > 1).tolist():
        first, *others = (root(prints[tokens.paths[place]]) for place in tokens.pictures(row))
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    return [root(prints[path]) for path in tokens.paths]
