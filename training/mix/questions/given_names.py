"""Names that are given in the words of a hint, for any picture: so a model learns to read hints.

A classifier has a thousand names, and the pictures of the mix show some three hundred of them. That
the answer stands in the hint can be learned of all of them, whatever the picture shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from training.mix.picture import Label, Picture
from training.mix.questions.names import name_questions
from training.mix.questions.wording import Question

_SURE = ((0.6, 0.92), (0.3, 0.6), (0.1, 0.25))  # share of the rows, probability of the name


def given_names(
    pictures: Sequence[Picture],
    names: Sequence[str],
    is_held_out: Callable[[str], bool],
    times: int,
    rng: random.Random,
) -> Iterator[tuple[Question, list[tuple[str, float]]]]:
    """Ask `times` for each name that is not held out, with the names that the hint gives.

    The hint's likeliest name is the answer; less likely ones, of any thing, stand behind it.
    """
    asked = [name for name in names if not is_held_out(name)]
    for name in asked * times:
        probability = rng.choices([p for _, p in _SURE], [share for share, _ in _SURE])[0]
        others = rng.sample([other for other in asked if other != name], rng.randrange(3))
        given = [(name, probability), *((other, probability / 4) for other in others)]
        picture = replace(rng.choice(pictures), label=Label(name, name, ""))
        yield next(name_questions(picture, rng)), given
