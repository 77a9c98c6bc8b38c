"""Build the training mix: rows of question and answer from all sets, split by picture."""

from __future__ import annotations

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from training.mix import composed
from training.mix.picture import Picture
from training.mix.questions.actions import action_questions
from training.mix.questions.captions import caption_check, caption_questions
from training.mix.questions.colors import color_questions, colored
from training.mix.questions.conditions import condition_questions
from training.mix.questions.counts import count_questions
from training.mix.questions.details import detail_questions, details
from training.mix.questions.given_names import given_names
from training.mix.questions.instructions import instructed
from training.mix.questions.names import name_check, name_questions
from training.mix.questions.people import people_questions
from training.mix.questions.places import indoor_questions, place_check, place_questions
from training.mix.questions.presence import (
    known,
    known_labels,
    presence_questions,
    somebody_or_nobody,
)
from training.mix.questions.refusals import refusal_questions
from training.mix.questions.wording import Question
from training.mix.rendered import pictures as rendered
from training.mix.sets import SETS
from training.mix.settings import MixSettings, SetSettings
from training.mix.tables import document
from vqa.errors import InputError
from vqa.loading import text_reader
from vqa.models.name_classifier import class_names
from vqa.utils.files import atomic_write, write_jsonl


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

    Pictures with text are drawn into `out` and read, which takes half a second for each; what was
    read is cached, so that an interrupted build goes on.

    Raises InputError where a set is not there; `training.mix.sets` says where each comes from.
    """
    if settings.data_root is None:
        raise InputError(
            f"data_root=DIR is missing: DIR holds the folders {', '.join(settings.sets)}"
        )
    reader = text_reader("always") if settings.text else None
    if settings.text and settings.out is None:
        raise InputError("out=DIR is missing: pictures with text are drawn there")
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
        every = list(SETS[name].read(root))
        unseen = [p for p in every if has_held_out_name(p, chosen.held_out_names)]
        apart = {id(p) for p in unseen}
        pictures = [p for p in every if id(p) not in apart]
        held_out = [p for p in pictures if in_validation(p, chosen.validation)]
        remaining = [p for p in pictures if not in_validation(p, chosen.validation)]
        train += _training(remaining, chosen, random.Random(f"{settings.seed}/{name}"))
        learned_from += remaining
        single += remaining if chosen.single else []
        # drawn apart: other training rows do not change what is measured
        check += _validation(held_out, chosen, random.Random(f"{settings.seed}/{name}/check"))
        check += _unseen_names(unseen, random.Random(f"{settings.seed}/{name}/unseen"))
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
    train += instructed(train, random.Random(f"{settings.seed}/form"), settings.instructions)
    trained = {answer for question in train for answer in question.answers}
    check = [q for q in check if q.task != "unseen_names" or trained.isdisjoint(q.answers)]
    rng = random.Random(settings.seed)
    train = _balanced(train, rng)
    by_task: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = _rows(_balanced(check, random.Random(settings.seed)), roots)
    # in the order of a hash: the first rows of a file are a fair sample of it
    for row in sorted(rows, key=lambda row: sha256(row["id"].encode()).hexdigest()):
        by_task[_FILES.get(row["task"], row["task"])].append(row)
    learned = _by_picture(list(_rows(train, roots)), rng)
    named = {scene.picture.path.as_posix(): scene for scene in scenes}
    given = _given(learned_from, roots, settings)
    text: list[dict[str, Any]] = []
    if reader is not None and settings.out is not None:
        seed, out = f"{settings.seed}/text", settings.out
        roots[rendered.SOURCE] = out / rendered.SOURCE
        text += rendered.text_rows(settings.text, train, out, reader, seed, held_out=False)
        for_check = max(1, settings.text // _FOR_CHECK)
        by_task["text"] += rendered.text_rows(for_check, check, out, reader, seed, held_out=True)
    return Mix([*learned, *given, *text, *_chat(settings.chat)], dict(by_task), roots, named)


def _given(
    pictures: Sequence[Picture], roots: Mapping[str, Path], settings: MixSettings
) -> Iterator[dict[str, Any]]:
    """Make the rows that bring the names of their hint, as the set `given`."""
    share = max((chosen.held_out_names for chosen in settings.sets.values()), default=0)
    pairs = list(
        given_names(
            pictures,
            class_names(1000) if settings.given_names else (),
            lambda name: is_held_out_name(name.lower(), share),
            settings.given_names,
            random.Random(f"{settings.seed}/given"),
        )
    )
    rows = _rows([question for question, _ in pairs], roots)
    for number, (row, (_, names)) in enumerate(zip(rows, pairs, strict=True)):
        yield row | {"id": f"given/{number}", "source": "given", "hint_names": names}


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
    """Return whether the picture is for validation: as the set's own lists say, else by hash."""
    if picture.official_split:
        return picture.official_split != "train"
    name = f"{picture.source}/{picture.group or picture.path.name}"
    return int(sha256(name.encode()).hexdigest()[:8], 16) / 16**8 < share


def has_held_out_name(picture: Picture, share: float) -> bool:
    """Return whether the picture's name is never trained on, which the hash of the name decides.

    So a class is held out of all sets that have it, and stays so when other sets change.
    """
    return picture.label is not None and is_held_out_name(picture.label.name, share)


def is_held_out_name(name: str, share: float) -> bool:
    """Return whether a name is never trained on."""
    return bool(name) and int(sha256(f"name/{name}".encode()).hexdigest()[:8], 16) / 16**8 < share


_FOR_CHECK = 20  # one more picture with text for validation for so many of training
_UNSEEN = 4  # pictures of each name that is never trained on


def _unseen_names(pictures: Sequence[Picture], rng: random.Random) -> Iterator[Question]:
    """Ask for names that no training row has."""
    of_name: Counter[str] = Counter()
    for picture in sorted(pictures, key=lambda p: sha256(p.path.name.encode()).hexdigest()):
        assert picture.label is not None
        of_name[picture.label.name] += 1
        if of_name[picture.label.name] <= _UNSEEN:
            yield from (replace(q, task="unseen_names") for q in name_check(picture, rng))


def _training(
    pictures: Sequence[Picture], chosen: SetSettings, rng: random.Random
) -> Iterator[Question]:
    for task, most in chosen.rows.items():
        if task == "presence":
            every = [known(p) for p in pictures] + known_labels(pictures, rng)
            yield from presence_questions(every, rng, chosen.presence_each, most)
        elif task == "names":
            questions = [q for p in pictures for q in _first(name_questions(p, rng), most)]
            yield from _at_most(questions, chosen.same_name, rng)
        else:
            questions = [q for _, qs in _each(task, pictures, rng) for q in _first(qs, most)]
            yield from _at_most(questions, chosen.same_name, rng) if task == "places" else questions


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
            "conditions": lambda p, r: condition_questions(p, r, check=True),
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
        "conditions": condition_questions,
    }
    for picture in pictures:
        yield picture, makers[task](picture, rng)


def _first(questions: Iterable[Question], most: int) -> list[Question]:
    return [q for q, _ in zip(questions, range(most), strict=False)]


def _at_most(questions: list[Question], most: int, rng: random.Random) -> list[Question]:
    """Draw at most so many questions about the same thing."""
    count: Counter[str] = Counter()
    chosen = []
    for question in rng.sample(questions, k=len(questions)):
        count[question.about] += 1
        if count[question.about] <= most:
            chosen.append(question)
    return chosen


def _balanced(questions: Iterable[Question], rng: random.Random) -> list[Question]:
    """Make no number, and neither indoors nor outdoors, more frequent than the next one is."""
    balanced: list[Question] = []
    of_task: defaultdict[str, list[Question]] = defaultdict(list)
    for question in questions:
        (of_task[question.task] if question.task in _EVEN else balanced).append(question)
    for same_task in of_task.values():
        frequent = Counter(question.about for question in same_task).most_common(2)
        balanced += _at_most(same_task, frequent[-1][1], rng)
    return balanced


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
    """Order pictures at random, and the rows of each, which stay together."""
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["image"]].append(row)
    pictures = sorted(groups)
    rng.shuffle(pictures)
    return [row for name in pictures for row in rng.sample(groups[name], k=len(groups[name]))]
