"""Build the training mix: rows of question and answer from all sets, split by picture."""

from __future__ import annotations

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vqa.data import composed
from vqa.data.picture import Picture
from vqa.data.questions.actions import action_questions
from vqa.data.questions.captions import caption_check, caption_questions
from vqa.data.questions.colors import color_questions, colored
from vqa.data.questions.counts import count_questions
from vqa.data.questions.details import detail_questions, details
from vqa.data.questions.names import name_check, name_questions
from vqa.data.questions.people import people_questions
from vqa.data.questions.places import indoor_questions, place_check, place_questions
from vqa.data.questions.presence import (
    known,
    known_labels,
    presence_questions,
    somebody_or_nobody,
)
from vqa.data.questions.refusals import refusal_questions
from vqa.data.questions.wording import Question
from vqa.data.sets import SETS
from vqa.data.tables import document
from vqa.errors import InputError
from vqa.files import atomic_write, write_jsonl

Task = Literal[
    "captions",
    "questions",
    "presence",
    "names",
    "counts",
    "colors",
    "actions",
    "details",
    "places",
    "indoors",
    "refusals",
]
SetName = Literal[
    "flickr8k",
    "daquar",
    "coco",
    "voc",
    "ade20k",
    "grocery",
    "clothing",
    "caltech101",
    "tinyimagenet",
    "easy_vqa",
]


class SetSettings(BaseModel):
    """What is taken from one data set."""

    model_config = ConfigDict(extra="forbid")

    rows: dict[Task, int] = {}  # most rows of a task from one picture
    check: dict[Task, int] = {}  # most validation rows of a task, of all pictures
    validation: float = Field(0.05, ge=0, lt=1)  # share of pictures, unless the set has its own dev
    presence_each: int = Field(400, ge=1)  # most yes (and no) rows for one object
    same_name: int = Field(400, ge=1)  # most rows that ask for one name or place
    single: bool = False  # its pictures show one thing, large: they are what is composed


class MixSettings(BaseModel):
    """The mix: which sets, how many rows of what."""

    model_config = ConfigDict(extra="forbid")

    data_root: Path | None = None  # a folder with one folder for each set
    out: Path | None = None  # where train.jsonl and val/ are written
    seed: int = 0
    chat: int = Field(0, ge=0)  # how often each question without a picture comes
    composed: int = Field(0, ge=0)  # pictures to count in, put together from those of single things
    nobody: int = Field(0, ge=0)  # questions for people where there are none, and as many yes
    sets: dict[SetName, SetSettings]


@dataclass(frozen=True)
class Mix:
    """Rows ready to be written: for training, and for validation by task."""

    train: list[dict[str, Any]]
    validation: dict[str, list[dict[str, Any]]]
    roots: dict[str, Path]  # where the pictures of each set are: SET/NAME in a row is NAME there
    scenes: dict[str, composed.Scene]  # pictures that are drawn, by their name in a row


def build(settings: MixSettings) -> Mix:
    """Make all rows. Pictures are read from `data_root/NAME`; rows name them `NAME/PICTURE`.

    A picture is on one side of the split only, chosen by the hash of its name (or of its group of
    near duplicates), so that it stays there when other sets or tasks change.

    Raises InputError where a set is not there; `vqa.data.sets` says where each comes from.
    """
    if settings.data_root is None:
        raise InputError(
            f"data_root=DIR is missing: DIR holds the folders {', '.join(settings.sets)}"
        )
    train: list[Question] = []
    check: list[Question] = []
    roots: dict[str, Path] = {composed.SOURCE: Path(composed.SOURCE)}
    learned_from: list[Picture] = []
    single: list[Picture] = []
    for name, chosen in settings.sets.items():
        root = settings.data_root / name
        fetch = SETS[name].fetch
        if fetch is not None and not root.is_dir():
            root = fetch()
        roots[name] = root
        if not root.is_dir():
            raise InputError(f"{root} is missing; it should hold {SETS[name].origin}")
        pictures = list(SETS[name].read(root))
        held_out = [p for p in pictures if in_validation(p, chosen.validation)]
        kept = [p for p in pictures if not in_validation(p, chosen.validation)]
        train += _training(kept, chosen, random.Random(f"{settings.seed}/{name}"))
        learned_from += kept
        single += kept if chosen.single else []
        # drawn apart: other training rows do not change what is measured
        check += _validation(held_out, chosen, random.Random(f"{settings.seed}/{name}/check"))
    scenes = composed.scenes(
        single,
        [picture for picture in learned_from if picture.scene],
        settings.composed,
        random.Random(f"{settings.seed}/scenes"),
    )
    counted = SetSettings(rows={"counts": 2, "presence": 1})
    drawn = [scene.picture for scene in scenes]
    train += _training(drawn, counted, random.Random(f"{settings.seed}/{composed.SOURCE}"))
    people = random.Random(f"{settings.seed}/people")
    train += somebody_or_nobody(learned_from, people, settings.nobody)
    rng = random.Random(settings.seed)
    train = _balanced(train, rng)
    by_task: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = _rows(_balanced(check, random.Random(settings.seed)), roots)
    # in the order of a hash: the first rows of a file are a fair sample of it
    for row in sorted(rows, key=lambda row: sha256(row["id"].encode()).hexdigest()):
        by_task[_FILES.get(row["task"], row["task"])].append(row)
    learned = _by_picture(list(_rows(train, roots)), rng)
    named = {scene.picture.path.as_posix(): scene for scene in scenes}
    return Mix([*learned, *_chat(settings.chat)], dict(by_task), roots, named)


def _chat(times: int) -> Iterator[dict[str, Any]]:
    for time in range(times):
        for number, pair in enumerate(document("chat"), start=1):
            yield {
                "id": f"chat/{number}-{time}", "images": [], "question": pair["q"],
                "answers": [pair["a"]], "task": "chat", "source": "chat",
            }  # fmt: skip


def write(mix: Mix, out: Path) -> None:
    """Write `train.jsonl` and `val/TASK.jsonl` below `out`, each atomically, and their pictures.

    The pictures are hard links where the file system allows it, else copies; composed ones are
    drawn.
    """
    every = (row for part in (mix.train, *mix.validation.values()) for row in part)
    for name in sorted({row["image"] for row in every if "image" in row}):
        source, _, rest = name.partition("/")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if name in mix.scenes:  # anew each time: another mix's picture may have had this name
            with atomic_write(out / name, "wb") as file:
                composed.draw(mix.scenes[name]).save(file, "JPEG", quality=90)
        elif not (out / name).exists():
            _link(mix.roots[source] / rest, out / name)
    write_jsonl(out / "train.jsonl", mix.train)
    for name, rows in mix.validation.items():
        write_jsonl(out / "val" / f"{name}.jsonl", rows)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another file system, or one without links
        with atomic_write(target, "wb") as file, source.open("rb") as picture:
            shutil.copyfileobj(picture, file)


_FILES = {"questions": "daquar"}  # validation file of a task, where it is not the task's name


def in_validation(picture: Picture, share: float) -> bool:
    """Whether the picture is for validation: as the set's own lists say, else by hash."""
    if picture.official_split:
        return picture.official_split != "train"
    name = f"{picture.source}/{picture.group or picture.path.name}"
    return int(sha256(name.encode()).hexdigest()[:8], 16) / 16**8 < share


def _training(
    pictures: Sequence[Picture], chosen: SetSettings, rng: random.Random
) -> Iterator[Question]:
    for task, most in chosen.rows.items():
        if task == "presence":
            every = [known(p) for p in pictures] + known_labels(pictures, rng)
            yield from presence_questions(every, rng, chosen.presence_each, most)
        elif task == "names":
            found = [q for p in pictures for q in _first(name_questions(p, rng), most)]
            yield from _at_most(found, chosen.same_name, rng)
        else:
            found = [q for _, qs in _each(task, pictures, rng) for q in _first(qs, most)]
            yield from _at_most(found, chosen.same_name, rng) if task == "places" else found


def _validation(
    pictures: Sequence[Picture], chosen: SetSettings, rng: random.Random
) -> Iterator[Question]:
    order = sorted(pictures, key=lambda p: sha256(p.path.name.encode()).hexdigest())
    for task, most in chosen.check.items():
        if task == "presence":
            every = [known(p) for p in order] + known_labels(order, rng)
            each = max(1, most // 2 // max(1, len(set().union(*(k.present for k in every)))))
            yield from presence_questions(every, rng, each, per_picture=6, check=True)
            continue
        makers: dict[str, Callable[[Picture, random.Random], Iterable[Question]]] = {
            "captions": caption_check,
            "names": name_check,
            "places": place_check,
            "counts": lambda p, r: count_questions(p, r, check=True),
            "questions": lambda p, r: people_questions(p, r, check=True),
        }
        if task not in makers:
            raise InputError(f"check.{task}: there is no measured form of this task")
        yield from [q for p in order for q in makers[task](p, rng)][:most]


def _each(
    task: str, pictures: Sequence[Picture], rng: random.Random
) -> Iterator[tuple[Picture, Iterable[Question]]]:
    if task in ("colors", "details"):  # whose yes and no are paired over all pictures
        if task == "colors":
            every = list(color_questions((c for p in pictures for c in colored(p)), rng))
        else:
            every = list(detail_questions((d for p in pictures for d in details(p)), rng))
        of_picture: defaultdict[int, list[Question]] = defaultdict(list)
        for question in rng.sample(every, k=len(every)):
            of_picture[id(question.picture)].append(question)
        yield from ((picture, of_picture[id(picture)]) for picture in pictures)
        return
    makers: dict[str, Callable[[Picture, random.Random], Iterable[Question]]] = {
        "captions": caption_questions,
        "questions": people_questions,
        "counts": count_questions,
        "actions": action_questions,
        "places": place_questions,
        "indoors": indoor_questions,
        "refusals": refusal_questions,
    }
    for picture in pictures:
        yield picture, makers[task](picture, rng)


def _first(questions: Iterable[Question], most: int) -> list[Question]:
    return [q for q, _ in zip(questions, range(most), strict=False)]


def _at_most(questions: list[Question], most: int, rng: random.Random) -> list[Question]:
    """At most so many questions about the same thing."""
    seen: Counter[str] = Counter()
    kept = []
    for question in rng.sample(questions, k=len(questions)):
        seen[question.about] += 1
        if seen[question.about] <= most:
            kept.append(question)
    return kept


def _balanced(questions: Iterable[Question], rng: random.Random) -> list[Question]:
    """No number, and neither indoors nor outdoors, more often than the next most frequent one."""
    kept: list[Question] = []
    of_task: defaultdict[str, list[Question]] = defaultdict(list)
    for question in questions:
        (of_task[question.task] if question.task in _EVEN else kept).append(question)
    for found in of_task.values():
        frequent = Counter(question.about for question in found).most_common(2)
        kept += _at_most(found, frequent[-1][1], rng)
    return kept


_EVEN = frozenset({"counts", "indoors"})


def _rows(questions: Iterable[Question], roots: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    numbers: Counter[str] = Counter()
    for question in questions:
        picture = question.picture
        relative = picture.path.relative_to(roots[picture.source])
        key = f"{picture.source}/{'-'.join(relative.with_suffix('').parts)}/{question.task}"
        numbers[key] += 1
        yield {
            "id": f"{key}-{numbers[key]}",
            "image": f"{picture.source}/{relative.as_posix()}",
            "question": question.text,
            "answers": list(question.answers),
            "task": question.task,
            "source": picture.source,
        }


def _by_picture(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Pictures in random order, the rows of each together and in random order."""
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["image"]].append(row)
    pictures = sorted(groups)
    rng.shuffle(pictures)
    return [row for name in pictures for row in rng.sample(groups[name], k=len(groups[name]))]
