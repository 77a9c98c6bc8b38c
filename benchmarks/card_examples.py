"""Twenty random answers of a model as one picture, for docs/model-card.md.

    python benchmarks/card_examples.py --mix MIX --out docs/model-examples.jpg

Pictures are drawn at random among those that may be shown: validation pictures of the clothing set
(CC0) and the four of `examples/`. Questions are drawn at random from the list below; none of the
answers is looked at before it is shown.
"""

from __future__ import annotations

import random
import textwrap
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from PIL import ImageOps
from transformers.utils.logging import disable_progress_bar

from vqa.answering import SamplingParams
from vqa.chat import Conversation
from vqa.data import read
from vqa.engine import LocalEngine
from vqa.errors import VQAError
from vqa.inputs.images import load_image
from vqa.models.checkpoints import load

EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = (
    "What is this?",
    "Describe the picture in one sentence.",
    "What colour is it?",
    "Is there a person in the picture?",
    "Is there a chair in the picture?",
    "Was this taken indoors or outdoors?",
    "How many people are there?",
    "What is in the background?",
    "What is it made of?",
    "What could I use this for?",
)
COLUMNS, ROWS = 5, 4


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    out: Annotated[Path, typer.Option(help="The picture to write.")],
    model: Annotated[str, typer.Option(help="As for `vqa ask`.")] = "embedded",
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Draw, ask and show."""
    disable_progress_bar()
    draw = random.Random(seed)
    try:
        rows = read(mix / "val" / "names.jsonl", mix)
        garments = [str(row.images[0]) for row in rows if row.extra["source"] == "clothing"]
        pictures = [str(path) for path in sorted(EXAMPLES.glob("*.jpg"))]
        pictures += draw.sample(sorted(set(garments)), COLUMNS * ROWS - len(pictures))
        draw.shuffle(pictures)
        pairs = [(picture, draw.choice(QUESTIONS)) for picture in pictures]
        engine = LocalEngine(load(model))
        answers = []
        for picture, question in pairs:
            talk = Conversation().ask(question, [picture])
            request = talk.request(SamplingParams(max_new_tokens=48))
            answers.append(engine.answer([request])[0].text)
    except VQAError as error:
        raise SystemExit(f"card_examples.py: {error}") from error
    _draw(pairs, answers, out)


def _draw(pairs: list[tuple[str, str]], answers: list[str], out: Path) -> None:
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(ROWS, COLUMNS, figsize=(12, 12), layout="constrained")
    for place, (picture, question), answer in zip(places.flat, pairs, answers, strict=True):
        image = load_image(picture)
        place.imshow(ImageOps.pad(image, (240, 240), color="white"))
        place.set_xticks([])
        place.set_yticks([])
        place.spines[:].set_visible(False)
        place.set_title(_wrapped(question), fontsize=9, loc="left")
        place.set_xlabel(_wrapped(answer), fontsize=9, weight="bold", loc="left")
    figure.savefig(out, dpi=80, pil_kwargs={"quality": 80})


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 32).replace("$", r"\$")


if __name__ == "__main__":
    typer.run(main)
