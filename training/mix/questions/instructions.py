"""Questions that say how to answer: true or false, one of several options, a list, unsure.

Each is made of a question that another maker has asked, so that what is true of the picture comes
from there and only the form of the answer is new.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from training.mix.questions.wording import Question
from training.mix.questions.words import with_article

UNSURE = "unsure"
_TRUE_OR_FALSE = (
    "True or false: {statement}.",
    "True or false? {statement}.",
    "Is this true or false: {statement}.",
    "{statement}. Answer true or false.",
    "{statement}. True or false?",
)
_UNSURE = (
    "{question} Answer yes, no or unsure.",
    "{question} Say yes, no or unsure.",
    "Answer with yes, no or unsure: {question}",
)
_OPTIONS = (
    "{question} {options}?",
    "{question} Choose one: {options}.",
    "{question} Options: {options}.",
    "{question} Is it {options}?",
    "{question}\nChoose from: {options}.",
)
_LISTS = (
    "Name three things in the {image}.",
    "List three things that you see.",
    "List three objects in this {image}.",
    "What three things are in the {image}?",
)
# a question that no picture answers, for `unsure`
_UNKNOWABLE = (
    "Is it a Monday?", "Is the photographer old?", "Was this taken in May?", "Is it expensive?",
    "Is somebody laughing behind the camera?", "Does it smell good?", "Is this in Canada?",
    "Was it warmer the day before?",
)  # fmt: skip


def true_or_false(question: Question, rng: random.Random) -> Question | None:
    """Make a statement of a presence question; return None for any other question."""
    if question.task != "presence" or question.answers[0] not in ("yes", "no"):
        return None
    statement = f"There is {with_article(question.about)} in the picture"
    text = rng.choice(_TRUE_OR_FALSE).format(statement=statement)
    answer = "true" if question.answers[0] == "yes" else "false"
    return replace(question, text=text, answers=(answer,), task="instructions")


def yes_no_or_unsure(question: Question, rng: random.Random) -> Question | None:
    """Allow `unsure` in a question of yes and no; it is right for a third of such questions."""
    if question.answers[0] not in ("yes", "no") or not question.text.endswith("?"):
        return None
    text, answers = question.text, question.answers
    if rng.random() < 1 / 3:
        text, answers = rng.choice(_UNKNOWABLE), (UNSURE,)
    text = rng.choice(_UNSURE).format(question=text)
    return replace(question, text=text, answers=answers, task="instructions")


def one_of(question: Question, others: Sequence[str], rng: random.Random) -> Question | None:
    """Give a question two to four options, of which the first accepted answer is one.

    `others` are answers to the same kind of question about other pictures.
    """
    answer = question.answers[0]
    wrong = [other for other in dict.fromkeys(others) if other not in question.answers]
    if not wrong or not question.text.endswith("?"):
        return None
    options = [answer, *rng.sample(wrong, k=min(len(wrong), rng.randint(1, 3)))]
    rng.shuffle(options)
    shown = f"{', '.join(options[:-1])} or {options[-1]}"
    text = rng.choice(_OPTIONS).format(question=question.text, options=shown)
    return replace(question, text=text, answers=(answer,), task="instructions")


def list_of_three(
    present: Sequence[str], question: Question, rng: random.Random
) -> Iterator[Question]:
    """Ask for three things in the picture of `question`, where so many are known."""
    names = list(dict.fromkeys(present))
    if len(names) >= 3:
        answer = ", ".join(rng.sample(names, k=3))
        text = rng.choice(_LISTS).format(image=rng.choice(("image", "picture", "photo")))
        yield replace(question, text=text, answers=(answer,), task="instructions")


def instructed(questions: Sequence[Question], rng: random.Random, each: int) -> list[Question]:
    """Make up to `each` questions of every form of instruction from other questions."""
    of_kind: defaultdict[str, list[str]] = defaultdict(list)
    present: defaultdict[int, list[str]] = defaultdict(list)
    for question in questions:
        if question.task in _WITH_OPTIONS and not question.answers[0].endswith("."):
            of_kind[question.task].append(question.answers[0])
        if question.task == "presence" and question.answers[0].lower().startswith("yes"):
            present[id(question.picture)].append(question.about)
    order = rng.sample(questions, k=len(questions))
    plain = [q for q in order if "\n" not in q.text and q.text.endswith("?")]
    made = {
        "true": (true_or_false(q, rng) for q in order),
        "unsure": (yes_no_or_unsure(q, rng) for q in plain),
        "options": (
            one_of(q, rng.sample(of_kind[q.task], k=min(8, len(of_kind[q.task]))), rng)
            for q in plain
            if q.task in _WITH_OPTIONS and not q.answers[0].endswith(".")
        ),
        "list": (
            next(list_of_three(present[id(q.picture)], q, rng), None)
            for q in order
            if q.task == "captions"
        ),
    }
    return [q for kind in made.values() for q in islice((q for q in kind if q), each)]


_WITH_OPTIONS = frozenset({"names", "colors", "places", "actions", "conditions"})
