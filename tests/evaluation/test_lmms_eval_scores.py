"""Planted predictions of each task, scored by lmms-eval's own functions and here.

Runs where lmms-eval is installed (`pip install '.[lmms]'`; captions need Java, for its tokenizer).
Where both differ the task's file says why, and `is_explained` tests it of each row.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.planted import Doc, rows_of
from tests.metrics.test_kits import kit
from vqa.data import read
from vqa.evaluation.benchmark_rows import write_rows
from vqa.evaluation.benchmark_tasks import load_task
from vqa.evaluation.scoring import metric_items
from vqa.metrics import Item, get_metric
from vqa.metrics.mmmu import choice
from vqa.metrics.multiple_choice import choices_of, expected, vlmevalkit

Theirs = Callable[[Doc, str], float]


def items_of(name: str, docs: Sequence[Doc], predictions: list[str], folder: Path) -> list[Item]:
    """Read rows as `vqa eval` does, and pair them with predictions."""
    data, images = folder / "data.parquet", None
    if name == "gqa":  # the hub has questions and pictures apart
        data, images = folder / "testdev_balanced_questions.json", folder
        (folder / "n1.jpg").write_bytes(docs[0]["image"]["bytes"])
        fields = ("imageId", "question", "answer")
        questions = {doc["id"]: {field: doc[field] for field in fields} for doc in docs}
        data.write_text(json.dumps(questions))
    else:
        rows = [{key: value for key, value in doc.items() if value is not None} for doc in docs]
        columns = dict.fromkeys(key for row in rows for key in row)
        pq.write_table(pa.Table.from_pylist([{c: r.get(c) for c in columns} for r in rows]), data)
    made = write_rows(load_task(name), folder / "out" / "rows.jsonl", data, images)
    return metric_items(list(read(made.path, made.images)), predictions)


def processed(module: str, function: str, value: str) -> Theirs:
    """Score a row by a task's `process_results`."""
    process = getattr(kit(f"lmms_eval.tasks.{module}.utils"), function)
    return lambda doc, text: float(process(copy.deepcopy(doc), [text])[value])


def exact(target: Callable[[Doc], str], read_letter: Callable[[str, Doc], str]) -> Theirs:
    """Score by `exact_match` as its task files set it."""
    score = kit("lmms_eval.api.metrics").exact_match_hf_evaluate

    def theirs(doc: Doc, text: str) -> float:
        scores = score([read_letter(text, doc)], [target(doc)], ignore_case=True,
                       ignore_punctuation=True)  # fmt: skip
        return float(scores["exact_match"])

    return theirs


def anls() -> Theirs:
    score = kit("lmms_eval.api.metrics").anls
    return lambda doc, text: float(score(references=doc["answers"], predictions=[text])["anls"])


def ai2d() -> Theirs:
    filters = kit("lmms_eval.tasks.ai2d.utils").MultiChoiceRegexFilter(
        group_select=0, ignore_case=True, ignore_punctuation=True, regex_pattern="([A-Z])\\."
    )
    return exact(
        lambda doc: string.ascii_uppercase[int(doc["answer"])],
        lambda text, doc: str(filters.apply([[text]], [doc])[0]),
    )


def seedbench() -> Theirs:
    utils = kit("lmms_eval.tasks.seedbench.utils")

    def theirs(doc: Doc, text: str) -> float:
        scored = utils.seed_process_result(doc, [text])["seed_all"]
        return float(utils.seed_aggregation_result([scored]))

    return theirs


def pope() -> Theirs:
    process = kit("lmms_eval.tasks.pope.utils").pope_process_results
    return lambda doc, text: float(process(doc, [text])["pope_accuracy"]["score"])


def mme() -> Theirs:
    process = kit("lmms_eval.tasks.mme.utils").mme_process_results
    return lambda doc, text: float(next(iter(process(doc, [text]).values()))["score"])


def mmmu() -> Theirs:
    """Score a row many times, for some are guessed: their mean is neither 0 nor 1."""
    utils = kit("lmms_eval.tasks.mmmu.utils")

    def theirs(doc: Doc, text: str) -> float:
        rows = [utils.mmmu_process_results(doc, [text])["mmmu_acc"] for _ in range(40)]
        return float(np.mean([utils.evaluate_mmmu([row])[1]["acc"] for row in rows]))

    return theirs


# of each task: who scores a row, and how many of the rows may differ
ROWS: dict[str, tuple[Callable[[], Theirs], int]] = {
    "vqav2": (lambda: processed("vqav2", "vqav2_process_results", "exact_match"), 0),
    "okvqa": (lambda: processed("ok_vqa", "ok_vqa_process_results", "exact_match"), 0),
    "textvqa": (lambda: processed("textvqa", "textvqa_process_results", "exact_match"), 0),
    "vizwiz": (lambda: processed("vizwiz_vqa", "vizwiz_vqa_process_results", "exact_match"), 0),
    "gqa": (lambda: exact(lambda doc: str(doc["answer"]), lambda text, doc: text), 0),
    "pope": (pope, 94),
    "docvqa": (anls, 0),
    "infovqa": (anls, 0),
    "chartqa": (lambda: processed("chartqa", "chartqa_process_results", "relaxed_overall"), 0),
    "scienceqa": (lambda: processed("scienceqa", "sqa_process_results", "exact_match"), 0),
    "mme": (mme, 0),
    "ai2d": (ai2d, 12),
    "seedbench": (seedbench, 34),
    "mmmu": (mmmu, 65),
}


def is_explained(name: str, text: str, item: Item) -> bool:
    """Whether the task's file says why a prediction is scored otherwise by lmms-eval."""
    if name == "pope":  # a sentence says neither yes nor no
        return text not in ("Yes", "yes", "No", "no")
    letters = {string.ascii_lowercase[n] for n in expected(item)}
    if name == "ai2d":  # marks around a letter, but for a period behind a capital
        bare = text.translate(str.maketrans("", "", string.punctuation))
        return len(text) > 1 and bare.lower() in letters
    if name == "seedbench":  # whatever follows a letter
        return len(text) > 1 and text[0].lower() in letters
    return "choices" in item.extra and choice(text, choices_of(item)) is None  # MMMU guesses


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, tmp_path: Path) -> None:
    make, count = ROWS[name]
    theirs = make()
    docs, predictions = rows_of(name)
    predictions = [text.strip() for text in predictions]  # as lmms-eval hands them on
    items = items_of(name, docs, predictions, tmp_path)
    ours = load_task(name).scored_by().rows(items)  # [R]
    wanted = np.array([theirs(doc, text) for doc, text in zip(docs, predictions, strict=True)])
    differ = np.flatnonzero(~np.isclose(ours, wanted, rtol=0, atol=1e-9))
    left = [i for i in differ if not is_explained(name, predictions[i], items[i])]
    assert not left, [(predictions[i], docs[i], ours[i], wanted[i]) for i in left[:5]]
    assert len(differ) == count
    assert 0.05 < wanted.mean() < 0.95  # else the predictions show nothing


def test_values_of_pope(tmp_path: Path) -> None:
    utils = kit("lmms_eval.tasks.pope.utils")
    docs, predictions = rows_of("pope")
    items = items_of("pope", docs, predictions, tmp_path)
    rows = [utils.pope_process_results(d, [p]) for d, p in zip(docs, predictions, strict=True)]
    values = get_metric("pope", "lmms-eval").of(items)
    for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1_score")):
        wanted = getattr(utils, f"pope_aggregate_{theirs}")([row[f"pope_{theirs}"] for row in rows])
        assert values[ours] == pytest.approx(wanted, abs=1e-12)
    # the task has the official rules, by which sentences say yes or no too
    official = load_task("pope").scored_by().of(items)
    assert official["accuracy"] > values["accuracy"]


def test_values_of_mme(tmp_path: Path) -> None:
    utils = kit("lmms_eval.tasks.mme.utils")
    docs, predictions = rows_of("mme")
    items = items_of("mme", docs, predictions, tmp_path)
    values = load_task("mme").scored_by().of(items)
    rows = [utils.mme_process_results(d, [p]) for d, p in zip(docs, predictions, strict=True)]
    for name in ("perception", "cognition"):
        key = f"mme_{name}_score"
        theirs = utils.mme_aggregate_results([row[key] for row in rows if key in row])
        assert values[name] == pytest.approx(theirs) and 0 < theirs < 2000


def test_questions_of_mmbench(tmp_path: Path) -> None:
    """Questions in all orders of their choices, and each row as a question of its own."""
    evaluator = kit("lmms_eval.tasks.mmbench.mmbench_evals").MMBench_Evaluator()
    docs, predictions = rows_of("mmbench")
    items = items_of("mmbench", docs, predictions, tmp_path)
    table = pd.DataFrame([doc | {"prediction": text.strip()}
                          for doc, text in zip(docs, predictions, strict=True)])  # fmt: skip
    answers = dict(zip(table["index"], table["answer"], strict=True))

    def theirs(rows: list[int]) -> int:
        return int(evaluator.eval_sub_data(table.iloc[rows], answers, static_only=True))

    scored = load_task("mmbench").scored_by()
    rows = scored.rows(items)  # [R]
    differ = [row for row in range(len(docs)) if theirs([row]) != rows[row]]
    for row in differ:  # it has several letters, or the second reader is asked
        several = len(set(re.findall(r"\b[A-D]\b", predictions[row]))) > 1
        named = vlmevalkit(predictions[row], choices_of(items[row]))
        assert several or named is None, predictions[row]
    assert len(differ) == 13 and rows.sum() == 145
    ours = scored.statistics(items)[:, 0]  # [R], of a question in its first row
    questions = table.groupby(table["index"] % 10**6).groups.values()
    unlike = [list(part) for part in questions if theirs(list(part)) != ours[part[0]]]
    assert all(set(part) & set(differ) for part in unlike) and len(unlike) == 4
    assert ours.sum() == 16


@pytest.mark.skipif(shutil.which("java") is None, reason="the tokenizer needs Java")
@pytest.mark.parametrize(
    ("name", "module", "prefix"),
    [("coco_caption", "coco_cap", "coco"), ("nocaps",) * 3, ("flickr30k", "flickr30k", "flickr")],
)
def test_captions(name: str, module: str, prefix: str, tmp_path: Path) -> None:
    utils = kit(f"lmms_eval.tasks.{module}.utils")
    docs, predictions = rows_of(name)
    items = items_of(name, docs, predictions, tmp_path)
    process = getattr(utils, f"{prefix}_process_result")
    results = [process(doc, [text])[f"{prefix}_CIDEr"]
               for doc, text in zip(docs, predictions, strict=True)]  # fmt: skip
    where = SimpleNamespace(output_path=str(tmp_path))
    theirs = getattr(utils, f"{prefix}_aggregation_result")(results, "CIDEr", where)
    ours = load_task(name).scored_by().of(items)["score"]
    assert ours == pytest.approx(float(theirs), abs=1e-9) and ours > 1
