"""The set `text`: pages and photos are drawn, read by the reader, and asked about."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from training.mix.picture import Picture
from training.mix.questions.wording import Question
from training.mix.questions.written import (
    WrittenQuestion,
    nothing_questions,
    overlay_question,
    page_questions,
)
from training.mix.rendered.camera import as_jpeg, photographed
from training.mix.rendered.fonts import families
from training.mix.rendered.held_out import Draw
from training.mix.rendered.overlay import draw_over, enlarged
from training.mix.rendered.page import draw_page
from training.mix.rendered.pages import random_page
from vqa.inputs.images import load_image
from vqa.reading import TextReader, rows_that_matter
from vqa.utils.files import atomic_write
from vqa.utils.progress import progress_bar

SOURCE = "text"
_SHARES = {"page": 70, "overlay": 8, "order": 7, "nothing": 15}  # of the pictures
_TASKS = frozenset({"presence", "counts", "names", "colors", "places", "questions", "people"})
_UNFIT = frozenset({"tinyimagenet", "easy_vqa"})  # drawings, and photos of 64 pixels
_OWN = 3  # questions of a photo's own


def text_rows(
    count: int, asked: Sequence[Question], out: Path, reader: TextReader, seed: str, held_out: bool
) -> Iterator[dict[str, Any]]:
    """Draw `count` pictures into `out/text`, read them, and yield the rows about them.

    `asked` are questions about photos, which are asked again with text over the photo: the answer
    stays what it was. A row has what was read as `hint_text`, and its `kind`. In training an answer
    that was not read is not asked for; in validation (`held_out`) it is.
    """
    photos = _photos(asked)
    if not families(chinese=True):
        print("vqa: no font here has Chinese letters: the set `text` gets none", file=sys.stderr)
    side = "val" if held_out else "train"
    with progress_bar(f"pictures with text ({side})", "pictures") as tell:
        for number in range(count):
            rng = random.Random(f"{seed}/{side}/{number}")
            picture = Picture(Path(f"{side}-{number:05}.jpg"), SOURCE)
            image, questions = _drawn(picture, photos, Draw(rng, held_out))
            path = out / SOURCE / picture.path
            with atomic_write(path, "wb") as file:
                file.write(as_jpeg(image, rng))
            yield from _rows(questions, rows_that_matter(reader.read(load_image(path))), held_out)
            tell(number + 1, count)


def _photos(asked: Sequence[Question]) -> list[list[Question]]:
    """Group the questions whose answers text over the photo does not change, by photo."""
    of_photo: defaultdict[Path, list[Question]] = defaultdict(list)
    for question in asked:
        picture = question.picture
        if question.task in _TASKS and picture.source not in _UNFIT and picture.path.is_file():
            of_photo[picture.path].append(question)
    return [of_photo[path] for path in sorted(of_photo)]


def _drawn(
    picture: Picture, photos: Sequence[list[Question]], draw: Draw
) -> tuple[Image.Image, list[WrittenQuestion]]:
    """Draw a picture, and ask about it."""
    rng = draw.rng
    (what,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    if what == "page" or not photos:
        page = random_page(draw, with_chinese=bool(families(chinese=True)))
        font = rng.choice(draw.one(families(page.chinese)))
        ground = Image.new("RGB", (8, 8), tuple(rng.randint(20, 235) for _ in range(3)))
        if photos and rng.random() < 0.5:
            ground = load_image(rng.choice(photos)[0].picture.path)
        image = photographed(draw_page(page, font), ground, rng)
        return image, list(page_questions(picture, page, draw))
    own = rng.choice(photos)
    image = enlarged(load_image(own[0].picture.path), rng)
    if what == "nothing":
        return image, list(nothing_questions(picture, draw))
    text = draw.word("orders" if what == "order" else "photo_texts")
    image = draw_over(image, text, rng.choice(draw.one(families())), rng)
    again = [
        WrittenQuestion(replace(question, picture=picture, task="text"), f"photo with {what}")
        for question in rng.sample(own, k=min(_OWN, len(own)))
    ]
    return image, [overlay_question(picture, text, draw), *again]


def _rows(
    questions: Sequence[WrittenQuestion], rows: Sequence[str], held_out: bool
) -> Iterator[dict[str, Any]]:
    """Make the rows of a picture; those of training fit to what was read."""
    read = _letters("".join(rows))
    for number, written in enumerate(questions, start=1):
        question, needs = written.question, written.needs
        fits = {
            "answer": _letters(question.answers[0]) in read,
            "text": bool(read),
            "no text": not read,
        }
        # a photo that shows text is no picture without, on either side
        if needs and not fits[needs] and (not held_out or needs == "no text"):
            continue
        name = question.picture.path
        yield {
            "id": f"{SOURCE}/{name.stem}-{number}",
            "image": f"{SOURCE}/{name}",
            "question": question.text,
            "answers": list(question.answers),
            "task": question.task,
            "source": SOURCE,
            "kind": written.kind,
            "hint_text": list(rows),
        }


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
