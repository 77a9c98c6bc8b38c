"""Answer all rows of a file in batches; what is interrupted goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa import fingerprint
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.pictures import Condition, Pictures
from vqa.files import append_jsonl, lock, open_jsonl, read_jsonl, write_jsonl

if TYPE_CHECKING:
    from vqa.answering import Answer, Answerer, Settings


@dataclass(frozen=True)
class Outcome:
    """What a run did: rows that were answered, that failed, and that earlier runs had answered."""

    answered: int
    errors: int
    kept: int


def predict(
    answerer: Answerer,
    examples: Sequence[Example],
    out: str | PathLike[str],
    settings: Settings,
    *,
    identity: str,
    condition: Condition = "seen",
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Write a row `{"id", "prediction", "probability", "finish", "fingerprint"}` for each example.

    Every batch is on the disk before the next begins. A row of an earlier run is kept where its
    fingerprint is the same: the picture's bytes, the question, `identity` (of the model), the
    settings and the condition; other rows and rows of other data are answered again or removed.
    Batches are planned from all rows, so that a row is answered among the same others whether or
    not the run was interrupted. A row whose picture or question cannot be used becomes
    `{"id", "error", "fingerprint"}` and is tried again by the next run.

    `progress` is told how many more rows are done. Raises InputError where `out` holds something
    that is no prediction.
    """
    out = Path(out)
    pictures = Pictures(examples, condition)
    settings_json = {
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": settings.seed,
    }
    prints = {
        example.id: fingerprint.of_json(
            [pictures.identity(example), example.question, identity, settings_json]
        )
        for example in examples
    }
    tell = progress or (lambda rows: None)
    answered = errors = 0
    with lock(out):
        kept = _keep(out, prints)
        tell(len(kept))
        with open_jsonl(out) as file:
            for start in range(0, len(examples), batch_size):
                batch = examples[start : start + batch_size]
                if all(example.id in kept for example in batch):
                    continue
                for row in _answer(answerer, batch, pictures, settings):
                    if row["id"] in kept:
                        continue
                    append_jsonl(file, row | {"fingerprint": prints[row["id"]]})
                    answered += "error" not in row
                    errors += "error" in row
                    tell(1)
    return Outcome(answered, errors, len(kept))


def _answer(
    answerer: Answerer, batch: Sequence[Example], pictures: Pictures, settings: Settings
) -> list[dict[str, Any]]:
    """A row for each example of the batch, in its order."""
    from vqa.answering import Request
    from vqa.prompts import Message

    rows: dict[str | int, dict[str, Any]] = {}
    requests: list[tuple[Example, Request]] = []
    for example in batch:
        try:
            message = Message("user", example.question, pictures.load(example))
        except InputError as error:
            rows[example.id] = _error(example, error)
        else:
            requests.append((example, Request((message,), settings)))
    for example, answer in _answers(answerer, requests, rows):
        rows[example.id] = {
            "id": example.id,
            "prediction": answer.text,
            "probability": answer.probability,
            "finish": answer.finish,
        }
    return [rows[example.id] for example in batch]


def _answers(
    answerer: Answerer,
    requests: list[tuple[Example, Any]],
    rows: dict[str | int, dict[str, Any]],
) -> list[tuple[Example, Answer]]:
    """Answers of the requests; one that the answerer refuses does not take the others with it."""
    if not requests:
        return []
    try:
        answers = answerer.answer([request for _, request in requests])
    except InputError as error:
        if len(requests) == 1:
            rows[requests[0][0].id] = _error(requests[0][0], error)
            return []
        return [found for one in requests for found in _answers(answerer, [one], rows)]
    return [(example, answer) for (example, _), answer in zip(requests, answers, strict=True)]


def _error(example: Example, error: InputError) -> dict[str, Any]:
    return {"id": example.id, "error": " ".join(str(error).split())}


def _keep(out: Path, prints: dict[str | int, str]) -> set[str | int]:
    """Ids whose answers in `out` still hold; the file is rewritten without any other row."""
    if not out.exists():
        return set()
    found: list[dict[str, Any]] = []
    for number, row in read_jsonl(out):
        if not isinstance(row.get("id"), str | int) or "fingerprint" not in row:
            raise InputError(
                f"{out}:{number}: not written by `vqa predict`; name another file for --out"
            )
        found.append(row)
    if found and not any(row["id"] in prints for row in found):
        raise InputError(f"{out} holds predictions of other data; name another file for --out")
    kept = {
        row["id"]: row
        for row in found
        if row["fingerprint"] == prints.get(row["id"]) and "error" not in row
    }
    if len(kept) != len(found):
        write_jsonl(out, kept.values())
    return set(kept)
