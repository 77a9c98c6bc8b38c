"""Questions that no picture answers, so that the model learns to say so."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, word
from training.mix.questions.words import normal_text
from training.mix.tables import document

REFUSAL = "I cannot tell from the picture."
_ABOUT_SOMEBODY = (
    "What is the name of the {who}?",
    "What is the {who}'s name?",
    "What is the {who} thinking?",
    "What did the {who} do yesterday?",
    "What will the {who} do tomorrow?",
    "Where does the {who} live?",
    "When was the {who} born?",
    "What is the {who} saying?",
)
_ABOUT_THE_PICTURE = (
    "Who took this {image}?",
    "When was this {image} taken?",
    "On which day was the {image} taken?",
    "What happened before this {image} was taken?",
    "What happens next?",
    "What does it smell like?",
    "What is the temperature?",
    "How much does it cost?",
    "What can you hear?",
    "What is behind the camera?",
    "What is the phone number?",
    "Which city is this?",
)
_SHARE = 0.15  # of the pictures that are asked


def refusal_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask one such question about some of the pictures, often about somebody in it."""
    if rng.random() >= _SHARE:
        return
    text = "".join(map(normal_text, picture.captions))
    somebody = [who for who in document("words")["subjects"] if re.search(rf" {who} ", text)]
    somebody = [who for who in somebody if not who.endswith("s") and who not in _SEVERAL]
    about = bool(somebody) and rng.random() < 0.6
    wordings = _ABOUT_SOMEBODY if about else _ABOUT_THE_PICTURE
    asked = word(rng, wordings, who=rng.choice(somebody) if about else "")
    yield Question(picture, asked, (REFUSAL,), "refusals")


_SEVERAL = frozenset({"people", "men", "women", "children"})
