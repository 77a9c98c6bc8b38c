"""Which rows are kept from training: those about pictures that are kept from it, by content."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.tokens import Tokens
from vqa.data.split import held_out, together


def kept_apart(
    tokens: Tokens, prints: Mapping[str, str], share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark the rows [R] about a `share` of the pictures, at least one where there are several.

    `prints` are fingerprints of the pictures' files by path. Pictures of one row, and pictures of
    equal bytes, go to the same side together. Which side depends on the content and the seed alone.
    """
    chosen = np.zeros(len(tokens), dtype=np.bool_)
    starts, pictures = tokens.arrays["picture_starts"], tokens.arrays["pictures"]
    several = np.flatnonzero(np.diff(starts) > 1).tolist()
    shown = [[prints[path]] for path in tokens.paths]
    shown += [[prints[tokens.paths[place]] for place in tokens.pictures(row)] for row in several]
    groups = together(shown)
    held = held_out(groups.values(), share, seed)
    apart = np.array([groups[prints[path]] in held for path in tokens.paths], dtype=np.bool_)
    with_pictures = np.diff(starts) > 0
    chosen[with_pictures] = apart[pictures[starts[:-1][with_pictures]]]
    return chosen
