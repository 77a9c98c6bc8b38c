"""Texts of strangers: prompts, conversations that are stored, exports, predictions, scores, tables.

`tests/inputs/test_prompts.py` has more of prompts: that no text can write a control token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlavaProcessor

from tests import tiny_text
from tests.fuzz.limits import assert_one_line, fuzz, held
from tests.fuzz.mutation import changed_json, json_bytes, texts
from tests.inputs.pictures import encoded, picture
from vqa.answering import Answer, Request, SamplingParams
from vqa.chat.export import as_json, as_markdown
from vqa.chat.feedback_export import as_zip
from vqa.chat.history import History
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.predicting import predict
from vqa.evaluation.predictions import read_predictions
from vqa.evaluation.scoring import metric_items, score
from vqa.inputs.prompts import Message, encode, tokens_per_image
from vqa.metrics import METRICS, get_metric
from vqa.utils.console import one_line
from vqa.utils.files import read_jsonl, write_jsonl

PNG = encoded(picture(), "PNG")
TOKENIZERS = {
    "bytes": (tiny_text.byte_level_tokenizer, tiny_text.CHATML),
    "llama": (tiny_text.llama_tokenizer, tiny_text.VICUNA),
    "unigram": (tiny_text.unigram_tokenizer, tiny_text.INST),
    "word pieces": (tiny_text.word_piece_tokenizer, tiny_text.VICUNA),
}
# what can be stored in UTF-8: a page's or an endpoint's texts are that
plain = texts.map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


@cache
def processor(kind: str) -> LlavaProcessor:
    tokenizer, template = TOKENIZERS[kind]
    return tiny_text.processor(tokenizer(), template)


@fuzz
@given(
    kind=st.sampled_from(sorted(TOKENIZERS)),
    turns=st.lists(texts, min_size=1, max_size=5),
    system=st.none() | texts,
    places=st.just([]) | st.lists(st.integers(-2, 40), max_size=3),
    ask=st.booleans(),
)
def test_conversations_are_encoded_or_refused(
    kind: str, turns: list[str], system: str | None, places: list[int], ask: bool
) -> None:
    images = (picture(),) * max(1, len(places))
    first = Message("user", turns[0], images, tuple(places))
    rest = [Message("user" if n % 2 else "assistant", text) for n, text in enumerate(turns[1:])]
    before = [] if system is None else [Message("system", system)]
    messages = [*before, first, *rest]
    with held():
        got = encode(processor(kind), messages, add_generation_prompt=ask)
        tokens = tokens_per_image(processor(kind)) * len(images)
        assert got.input_ids.count(processor(kind).image_token_id) == tokens
        assert len(got.loss_mask) == len(got.input_ids)
        if not places:
            harmless = [replace(message, text="a") for message in messages]
            plain = encode(processor(kind), harmless, add_generation_prompt=ask)
            assert controls(kind, got.input_ids) == controls(kind, plain.input_ids)


def controls(kind: str, ids: list[int]) -> list[int]:
    """The control tokens among ids; one for what no vocabulary has is none of them."""
    tokenizer = processor(kind).tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return [token for token in ids if token in special]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    made = History(tmp_path_factory.mktemp("chats"))
    yield made
    made.close()


@fuzz
@given(
    turns=st.lists(plain, min_size=2, max_size=4),
    system=plain,
    name=plain,
    correction=plain,
    rating=st.sampled_from([-1, 0, 1]),
    search=plain,
)
def test_conversations_are_kept_and_exported(
    history: History,
    turns: list[str],
    system: str,
    name: str,
    correction: str,
    rating: int,
    search: str,
) -> None:
    key = history.start("anna", system)
    turn: str | None = None
    try:
        with held():
            for asked, answered in zip(turns[::2], turns[1::2], strict=False):
                turn = history.add_question("anna", key, turn, asked, [(name, PNG)])
                turn = history.add_answer("anna", turn, name)
                history.finish(turn, answered, "done", {"probability": 0.5, "finish": "stop"})
            assert turn is not None
            history.rate("anna", turn, rating)
            history.correct("anna", turn, correction)
        branch = history.branch("anna", key)
        assert [each.text for each in branch] == turns[: len(turns) // 2 * 2]
        assert history.system("anna", key) == system
        assert branch[0].pictures[0].name == name
        assert "\n" not in history.conversations("anna")[0].title
        with held():
            part = turns[0][:8000]  # more is refused
            matches = [one.id for one in history.conversations("anna", part)]
            history.conversations("anna", search[:8000])
            # SQLite compares no further than a character of zero bits
            assert key in matches or "\0" in part
        assert history.conversations("ben", part) == []
        with held():
            as_markdown(branch).encode()
            messages = json.loads(as_json(branch))["messages"]
            assert messages[0]["content"][-1]["text"] == turns[0]
        with held():
            as_zip(history, "anna")
    finally:
        history.delete("anna", key)


class Parrot:
    """Answers with the texts that it was given."""

    name = "parrot"

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = answers

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        return [
            Answer(self._answers[n % len(self._answers)], "stop", probability=0.5)
            for n, _ in enumerate(requests)
        ]

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        raise NotImplementedError


@fuzz
@given(
    rows=st.lists(st.tuples(texts | st.integers(), texts, texts), min_size=1, max_size=3),
    answers=st.lists(texts, min_size=1, max_size=3),
)
def test_predictions_are_written_and_read(
    tmp_path: Path, rows: list[tuple[str | int, str, str]], answers: list[str]
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(PNG)
    keys = {str(key): key for key, _, _ in rows}
    examples = [
        Example(keys[str(key)], (image,), question, (answer,), {"choices": [question, answer]})
        for key, question, answer in {str(row[0]): row for row in rows}.values()
    ]
    out = tmp_path / "out.jsonl"
    out.unlink(missing_ok=True)
    with held():
        done = predict(
            Parrot(answers), examples, out, SamplingParams(), identity="parrot", batch_size=3
        )
        assert done.answered == len(examples) and not done.errors
        back = read_predictions(out, examples)
        assert {row.id for row in examples} == back.keys()
        assert {one.text for one in back.values()} <= set(answers)
        score(examples, back, get_metric("exact_match"), draws=10)
    with held():  # goes on where all is done
        again = predict(Parrot(answers), examples, out, SamplingParams(), identity="parrot")
        assert (again.answered, again.reused) == (0, len(examples))


@fuzz
@given(
    name=st.sampled_from(METRICS),
    predictions=st.lists(texts, min_size=2, max_size=2),
    right=st.lists(texts, min_size=1, max_size=4),
    question=texts,
    choices=st.lists(texts, max_size=4),
)
def test_any_text_is_scored(
    name: str, predictions: list[str], right: list[str], question: str, choices: list[str]
) -> None:
    rows = [Example(n, (), question, tuple(right), {"choices": choices}) for n in range(2)]
    with held():
        scores = get_metric(name).of(metric_items(rows, predictions))
        assert all(value == value for value in scores.values())
        for item in metric_items(rows, predictions):
            get_metric(name).explain(item)


PREDICTIONS = [
    [{"id": 1, "prediction": "cat", "probability": 0.5}, {"id": "b", "error": "no picture"}],
    [{"question_id": 1, "answer": "cat"}, {"question_id": 2, "answer": "dog"}],
    [{"image_id": 1, "caption": "A cat."}],
]
NAMES = ("id", "prediction", "probability", "error", "answer", "caption", "question_id")


@fuzz
@given(data=st.data(), rows=st.sampled_from(PREDICTIONS), lines=st.booleans())
def test_files_of_predictions_are_read_or_refused(
    tmp_path: Path, data: st.DataObject, rows: list[dict[str, Any]], lines: bool
) -> None:
    path = tmp_path / "predictions.json"
    content = (
        b"\n".join(data.draw(json_bytes(row, NAMES)) for row in rows)
        if lines
        else data.draw(json_bytes(rows, NAMES))
    )
    path.write_bytes(content)
    with held():
        read_predictions(path, [Example(1, (), "What?")])


@fuzz
@given(st.lists(st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3), max_size=3))
def test_lines_of_json_come_back(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "rows.jsonl"
    with held():
        write_jsonl(path, rows)
        assert [row for _, row in read_jsonl(path)] == rows


@fuzz
@given(changed_json({"a": ["b", 1, None]}))
def test_any_value_is_written_as_json_or_refused(tmp_path: Path, value: Any) -> None:
    with held():
        write_jsonl(tmp_path / "rows.jsonl", [{"a": value}])
        with suppress(InputError):
            list(read_jsonl(tmp_path / "rows.jsonl"))


@fuzz
@given(texts, st.sampled_from([VQAError, InputError]))
def test_a_message_is_one_line(text: str, kind: type[VQAError]) -> None:
    shown = str(kind(f"{text}: look there."))
    assert_one_line(shown)
    assert shown.endswith(": look there.")
    assert shown.startswith(text) or not text.isprintable() or len(text) > 2900


@fuzz
@given(texts)
def test_a_line_of_a_table_is_harmless(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 200
    assert not line or line.isprintable()
