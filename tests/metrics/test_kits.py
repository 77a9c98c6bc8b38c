"""The profiles give what the kits' own functions give, on 2,000 random answers for each metric.

Runs where the kits are installed; what their models depend on is not needed:

    pip install --no-deps lmms-eval==0.7.3 ms-vlmeval==0.0.20 pycocoevalcap

`ms-vlmeval` is VLMEvalKit as a package. A test that wants one more package is skipped and names it.
Captions need Java, for the tokenizer. Some of what the kits gave stands in each metric's own tests,
which need no kit.
"""

from __future__ import annotations

import importlib
import shutil
import string
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.metrics.random_answers import (
    caption_items,
    choice_items,
    number_items,
    text_items,
    vqa_items,
    yes_no_items,
)
from vqa.metrics import Item, get_metric


def kit(name: str) -> Any:
    """A module of a kit by itself, without what its packages import to run models."""
    parts = name.split(".")
    spec = PathFinder.find_spec(parts[0])
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{parts[0]} is not installed")
    root = Path(spec.submodule_search_locations[0])
    for depth in range(1, len(parts)):
        package = types.ModuleType(".".join(parts[:depth]))
        package.__path__ = [str(root.joinpath(*parts[1:depth]))]
        package.__spec__ = spec if depth == 1 else None  # tests of the whole kit look for it
        sys.modules.setdefault(package.__name__, package)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name}: {error}")


def check(name: str, profile: str, items: Sequence[Item], theirs: Callable[[Item], float]) -> None:
    """The metric scores each row as their function does."""
    ours = get_metric(name, profile).rows(items)  # [R]
    wanted = np.array([theirs(item) for item in items])  # [R]
    differ = np.flatnonzero(~np.isclose(ours, wanted, rtol=0, atol=1e-9))
    shown = [f"{items[i]}: {ours[i]}, theirs {wanted[i]}" for i in differ[:5]]
    assert not shown, f"{len(differ)} of {len(items)} differ:\n" + "\n".join(shown)
    assert 0.05 < wanted.mean() < 0.95  # else the answers show nothing


class TestLmmsEval:
    """lmms-eval 0.7.3."""

    def test_vqa_accuracy(self) -> None:
        score = kit("lmms_eval.tasks.vqav2.utils").vqav2_process_results

        def theirs(item: Item) -> float:
            answers = [{"answer": text, "answer_id": n} for n, text in enumerate(item.answers)]
            row = {"answers": answers, "question_id": 0}
            return float(score(row, [item.prediction])["exact_match"])

        check("vqa_accuracy", "lmms-eval", vqa_items(1), theirs)

    def test_multiple_choice(self) -> None:
        score = kit("lmms_eval.tasks.scienceqa.utils").sqa_process_results

        def theirs(item: Item) -> float:
            right = string.ascii_uppercase.index(item.answers[0])
            row = {"choices": item.extra["choices"], "answer": right}
            return float(score(row, [item.prediction])["exact_match"])

        check("multiple_choice", "lmms-eval", choice_items(1), theirs)

    def test_anls(self) -> None:
        score = kit("lmms_eval.api.metrics").anls

        def theirs(item: Item) -> float:
            scores = score(references=list(item.answers), predictions=[item.prediction])
            return float(scores["anls"])

        check("anls", "lmms-eval", text_items(1), theirs)

    @pytest.mark.parametrize("items", [number_items(1), text_items(2, 1)], ids=["numbers", "texts"])
    def test_relaxed_accuracy(self, items: list[Item]) -> None:
        score = kit("lmms_eval.tasks.chartqa.utils").chartqa_process_results

        def theirs(item: Item) -> float:
            rows = [{"type": "human_test", "answer": answer} for answer in item.answers]
            return max(float(score(row, [item.prediction])["relaxed_overall"]) for row in rows)

        check("relaxed_accuracy", "lmms-eval", items, theirs)

    @pytest.mark.parametrize("name", ["exact_match", "gqa"])
    def test_exact_match(self, name: str) -> None:
        score = kit("lmms_eval.api.metrics").exact_match_hf_evaluate

        def theirs(item: Item) -> float:
            scores = [
                score([item.prediction], [answer], ignore_case=True, ignore_punctuation=True)
                for answer in item.answers
            ]
            return max(float(one["exact_match"]) for one in scores)

        check(name, "lmms-eval", text_items(3), theirs)

    def test_pope(self) -> None:
        pope = kit("lmms_eval.tasks.pope.utils")
        items = yes_no_items(1)
        rows = [
            pope.pope_process_results({"answer": i.answers[0], "question_id": 0}, [i.prediction])
            for i in items
        ]
        names = {"accuracy": "accuracy", "precision": "precision", "recall": "recall",
                 "f1": "f1_score", "yes_rate": "yes_ratio"}  # fmt: skip
        theirs = {
            ours: getattr(pope, f"pope_aggregate_{name}")([row[f"pope_{name}"] for row in rows])
            for ours, name in names.items()
        }
        assert get_metric("pope", "lmms-eval").of(items) == pytest.approx(theirs, abs=1e-12)


class TestVLMEvalKit:
    """VLMEvalKit, as ms-vlmeval 0.0.20 has it."""

    @staticmethod
    def scored(method: str, dataset: str) -> Callable[[Item], float]:
        functions = kit("vlmeval.dataset.utils.vqa_eval")

        def theirs(item: Item) -> float:
            line = {"answer": repr(list(item.answers)), "prediction": item.prediction}
            return float(
                functions.hit_calculate([functions.process_line(line, method)], dataset)[0]
            )

        return theirs

    def test_vqa_accuracy(self) -> None:
        theirs = self.scored("vqa_score", "TextVQA_VAL")
        check("vqa_accuracy", "vlmevalkit", vqa_items(2), theirs)

    def test_multiple_choice(self) -> None:
        can_infer = kit("vlmeval.utils.matching_util").can_infer

        def theirs(item: Item) -> float:
            choices = dict(zip(string.ascii_uppercase, item.extra["choices"], strict=False))
            return float(can_infer(item.prediction, choices) == item.answers[0])

        check("multiple_choice", "vlmevalkit", choice_items(2), theirs)

    def test_anls(self) -> None:
        check("anls", "vlmevalkit", text_items(4), self.scored("anls", "DocVQA_VAL"))

    @pytest.mark.parametrize("items", [number_items(2), text_items(5, 1)], ids=["numbers", "texts"])
    def test_relaxed_accuracy(self, items: list[Item]) -> None:
        theirs = self.scored("relaxed_accuracy", "ChartQA_TEST")
        check("relaxed_accuracy", "vlmevalkit", items, theirs)

    @pytest.mark.parametrize("name", ["exact_match", "gqa"])
    def test_exact_match(self, name: str) -> None:
        check(name, "vlmevalkit", text_items(6), self.scored("accuracy", "OCRVQA_TEST"))

    def test_pope(self, tmp_path: Path) -> None:
        yorn = kit("vlmeval.dataset.utils.yorn")
        items = yes_no_items(2)
        table = pd.DataFrame({
            "answer": [item.answers[0].capitalize() for item in items],
            "extracted": [yorn.YOrN_Extraction(item.prediction) for item in items],
            "category": "adversarial",
        })  # fmt: skip
        table["score"] = table["answer"] == table["extracted"]
        table.to_csv(tmp_path / "rated.tsv", sep="\t", index=False)
        rated = yorn.POPE_rating(str(tmp_path / "rated.tsv")).iloc[0]
        names = {"accuracy": "acc", "precision": "precision", "recall": "recall", "f1": "Overall"}
        scores = get_metric("pope", "vlmevalkit").of(items)
        for ours, theirs in names.items():
            assert scores[ours] == pytest.approx(float(rated[theirs]) / 100, abs=1e-12), ours


@pytest.mark.parametrize("name", ["cider_d", "rouge_l"])
@pytest.mark.parametrize("profile", ["lmms-eval", "vlmevalkit"])
def test_captions(name: str, profile: str) -> None:
    """Both kits call pycocoevalcap: lmms-eval after its tokenizer, VLMEvalKit without one."""
    scorer = (
        kit("pycocoevalcap.cider.cider").Cider()
        if name == "cider_d"
        else kit("pycocoevalcap.rouge.rouge").Rouge()
    )
    if profile == "lmms-eval":
        items = caption_items(1)
        if shutil.which("java") is None:
            pytest.skip("the tokenizer needs Java")
        words = kit("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer().tokenize
        predictions = words({i: [{"caption": item.prediction}] for i, item in enumerate(items)})
        wanted = words({i: [{"caption": text} for text in item.answers]
                        for i, item in enumerate(items)})  # fmt: skip
    else:
        items = caption_items(2, (" ", " ", "  ", "\n"))
        predictions = {i: [item.prediction] for i, item in enumerate(items)}
        wanted = {i: list(item.answers) for i, item in enumerate(items)}
    mean, each = scorer.compute_score(wanted, predictions)
    ours = get_metric(name, profile)
    assert ours.rows(items) == pytest.approx(np.array(each), abs=1e-9)
    assert ours.of(items)["score"] == pytest.approx(float(mean), abs=1e-9)
