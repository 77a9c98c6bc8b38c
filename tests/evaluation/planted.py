"""Rows of benchmarks in their data sets' columns, and predictions planted for them."""

from __future__ import annotations

import io
import random
import string
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

COUNT = 200
Doc = dict[str, Any]  # a row as the hub has it

_SHORT = (
    "cat", "dogs", "t-shirt", "New York", "2", "none", "12.5", "1,200", "mr. smith's", "baseball",
    "red and white", "yes", "no", "stop", "isn't", "U.S.A.", "left", "24/7", "brown bear", "ten",
)  # fmt: skip
_NUMBERS = ("14", "3.5", "0.25", "1200", "12%", "2014", "Yes", "No", "Male", "100", "[2, 3]", "0")
_CHOICES = ("fish", "bird", "a cat", "two dogs", "Asia", "12", "the left one", "red", "Mars", "c")
_CAPTIONS = """
a man rides a surfboard on a wave.|A dog runs over green grass|Two people sit on a bench, near the
sea.|a red bus in a city street|The kitchen isn't large, but it's clean.|A plate with food|three
zebras (two of them young) near a tree|someone's hand holds a phone
""".replace("\n", " ").strip().split("|")  # fmt: skip
_FREE = (
    "{0}", "{0}", "{0}", "{0}.", " {0}\n", "{0}!", "{0}?", "{0},", '"{0}"', "**{0}**", "({0})",
    "The {0}", "a {0}", "an {0}", "It is {0}.", "{1}", "{1}.", "{0}, {1}", "{0} or {1}",
    "{0}/{1}", "{0}; {1}", "Answer: {0}", "I cannot see the image.", "unanswerable",
    "Sorry, I can't help with that.", "", "{0}\n{1}", "{0} {0}", "not {0}", "{0}s", "{0}'s",
    "{0}%", "$ {0}", "{1}{0}", "{0},{1}",
)  # fmt: skip
_YES_NO = (
    "yes", "no", "Yes", "No", "YES", "NO", "Yes.", "No.", "yes, there is", "No, there is not.",
    "There is.", "not at all", "Yes and no", "I know it", "y", "n", " Yes\n", "**Yes**", "", "nope",
    "The answer is yes", "Unsure", "yes!", "'no'", "Cannot tell", "noyes", "(yes)", "yesterday",
)  # fmt: skip
_LETTERED = (
    "{0}", "{0}", "{0}", "{0}.", " {0}", "{0}\n", "({0})", "{0})", "{0}. {1}", "{0}: {1}",
    "{0}) {1}", "**{0}**", "The answer is {0}.", "The correct answer is ({0}) {1}", "Option {0}",
    "{1}", "{1}.", "{2}", "{0} and {3}", "{0} or {3}, I think it is {3}", "{0}.{1}", "I choose {0}",
    "", "Sorry, I can't help with images of people yet.", "I cannot tell from the picture, sorry",
    "Because it looks so", "Dogs and cats", "It must be {1}, as far as anybody can see here",
    "{3}. {2}, not {0}", "A dog is in the picture with a cat", "none of them",
    "<answer>{0}</answer>", "{0}, {1}", "Answer: {0}", "[{0}]",
)  # fmt: skip


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()


def cased(draw: random.Random, text: str) -> str:
    """Write a text in one of several cases."""
    return draw.choice((str, str, str.lower, str.upper, str.capitalize))(text)


def free(draw: random.Random, right: str, wrong: str) -> str:
    return cased(draw, draw.choice(_FREE).format(right, wrong))


def lettered(draw: random.Random, choices: Sequence[str], right: int) -> str:
    """Name a choice, mostly the right one, by its letter, by its text, by both or by neither."""
    place = draw.choice((right, right, draw.randrange(len(choices))))
    other = (place + 1) % len(choices)
    letters = string.ascii_uppercase
    form = draw.choice(_LETTERED)
    text = form.format(letters[place], choices[place], choices[other], letters[other])
    return text.lower() if draw.random() < 0.1 else text


def poll(draw: random.Random) -> list[str]:
    """Ten people's answers, all the same or not."""
    first, second = draw.sample(_SHORT, 2)
    alike = draw.choice((10, 10, 7, 3, 2, 1))
    return [cased(draw, first) for _ in range(alike)] + [second] * (10 - alike)


def rows_of(name: str) -> tuple[list[Doc], list[str]]:
    """Make `COUNT` rows of a task's data set, and a prediction for each."""
    draw = random.Random(name)
    make = _MAKERS[name]
    rows, predictions = [], []
    for number in range(COUNT):
        row, prediction = make(draw, number)
        rows.append({"image": {"bytes": png(), "path": None}, "question": "What?"} | row)
        predictions.append(prediction)
    return rows, predictions


Maker = Callable[[random.Random, int], tuple[Doc, str]]


def _vqa(objects: bool) -> Maker:
    def make(draw: random.Random, number: int) -> tuple[Doc, str]:
        answers = poll(draw)
        row: Doc = {"question_id": number, "answers": answers, "question_type": "what"}
        if objects:
            row["answers"] = [{"answer": text, "answer_confidence": "yes", "answer_id": n}
                              for n, text in enumerate(answers, start=1)]  # fmt: skip
        return row | {"answer_type": "other", "category": "other"}, free(draw, answers[0], "golf")

    return make


def _texts(draw: random.Random, number: int) -> tuple[Doc, str]:
    answers = draw.sample(_SHORT, draw.randint(1, 3))
    text = free(draw, answers[-1], "golf")
    if draw.random() < 0.3 and len(text) > 3:  # read with a slip
        text = text[:1] + text[2:]
    return {"questionId": str(number), "answers": answers}, text


def _gqa(draw: random.Random, number: int) -> tuple[Doc, str]:
    answer = draw.choice(_SHORT)
    return {"id": str(number), "imageId": "n1", "answer": answer}, free(draw, answer, "golf")


def _chart(draw: random.Random, number: int) -> tuple[Doc, str]:
    answer = draw.choice(_NUMBERS)
    right = answer
    if answer.replace(".", "").isdigit() and draw.random() < 0.6:
        right = f"{float(answer) * draw.choice((0.94, 0.96, 1.04, 1.06)):g}"
    return {"type": draw.choice(("human_test", "augmented_test")), "answer": answer}, free(
        draw, right, "17"
    )


def _yes_no(draw: random.Random, number: int) -> tuple[Doc, str]:
    row = {"question_id": str(number), "answer": draw.choice(("yes", "no")), "category": "random"}
    return row, draw.choice(_YES_NO)


def _mme(draw: random.Random, number: int) -> tuple[Doc, str]:
    categories = ("existence", "OCR", "color", "code_reasoning", "text_translation")
    category = categories[number // 2 % len(categories)]
    right = ("Yes", "No")[number % 2]
    text = draw.choice(_YES_NO) if draw.random() < 0.5 else right
    row = {"question_id": f"{category}/{number // 2}.png", "answer": right, "category": category}
    return row, text


def _choices(column: str) -> Maker:
    def make(draw: random.Random, number: int) -> tuple[Doc, str]:
        choices = draw.sample(_CHOICES, 4 if column == "letters" else draw.randint(2, 5))
        right = draw.randrange(len(choices))
        row: Doc = {"question_id": str(number), "hint": draw.choice(("", "Look."))}
        if column == "letters":  # SEED-Bench
            row = {"question_id": str(number), "answer": "ABCD"[right], "data_type": "image"}
            row |= {f"choice_{letter}": text for letter, text in zip("abcd", choices, strict=True)}
        elif column == "choices":
            row |= {"choices": choices, "answer": right, "subject": "natural science"}
        else:
            row = {"options": choices, "answer": str(right)}
        return row, lettered(draw, choices, right)

    return make


def _mmbench(draw: random.Random, number: int) -> tuple[Doc, str]:
    """Four rotations of each question, the last of them in the order of the first row's."""
    question, turn = divmod(number, 4)
    texts = random.Random(question).sample(_CHOICES, 4)
    choices = texts[turn:] + texts[:turn]
    right = choices.index(texts[0])
    row = {
        "index": question + turn * 10**6, "answer": "ABCD"[right],
        "hint": draw.choice(("nan", "Look.")),
        **dict(zip("ABCD", choices, strict=True)), "category": "image_topic", "source": "a",
        "L2-category": "coarse", "comment": "nan", "split": "dev",
    }  # fmt: skip
    return row, "ABCD"[right] if draw.random() < 0.5 else lettered(draw, choices, right)


def _mmmu(draw: random.Random, number: int) -> tuple[Doc, str]:
    row = {
        "id": f"validation_Accounting_{number}", "question": "<image 1> What?", "image": None,
        "image_1": {"bytes": png(), "path": None}, "img_type": "['Tables']", "explanation": "",
        "subfield": "Finance", "topic_difficulty": "Easy",
    }  # fmt: skip
    if number % 3 == 0:
        answer = draw.choice((*_SHORT, *_NUMBERS[:6]))
        row |= {"options": "[]", "question_type": "open", "answer": answer}
        return row, free(draw, answer, "golf")
    choices = draw.sample(_CHOICES[:9], draw.randint(2, 5))
    right = draw.randrange(len(choices))
    row |= {"options": repr(choices), "question_type": "multiple-choice"}
    return row | {"answer": string.ascii_uppercase[right]}, lettered(draw, choices, right)


def _caption(columns: Callable[[int, list[str]], Doc]) -> Maker:
    def make(draw: random.Random, number: int) -> tuple[Doc, str]:
        captions = draw.sample(_CAPTIONS, draw.randint(1, 5))
        words = draw.choice(captions).split()
        if draw.random() < 0.6:
            words[draw.randrange(len(words))] = draw.choice(("cat", "a", "Green", "beach,"))
        return columns(number, captions), cased(draw, " ".join(words))

    return make


def _coco(number: int, captions: list[str]) -> Doc:
    name = f"COCO_val2014_{number:012}.jpg"
    return {"question_id": name, "answer": captions, "id": number, "file_name": name}


def _nocaps(number: int, captions: list[str]) -> Doc:
    return {"image_id": number, "annotations_captions": captions, "question": None}


def _flickr(number: int, captions: list[str]) -> Doc:
    return {"img_id": str(number), "caption": captions, "question": None}


_MAKERS: dict[str, Maker] = {
    "vqav2": _vqa(True), "okvqa": _vqa(False), "textvqa": _vqa(False), "vizwiz": _vqa(False),
    "gqa": _gqa, "pope": _yes_no, "docvqa": _texts, "infovqa": _texts, "chartqa": _chart,
    "scienceqa": _choices("choices"), "ai2d": _choices("options"),
    "seedbench": _choices("letters"), "mmbench": _mmbench, "mme": _mme, "mmmu": _mmmu,
    "coco_caption": _caption(_coco), "nocaps": _caption(_nocaps),
    "flickr30k": _caption(_flickr),
}  # fmt: skip
