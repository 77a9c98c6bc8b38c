import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.errors import InputError
from vqa.evaluation.number_text import PLAIN
from vqa.metrics import METRICS, PROFILES, Item, Metric, get_metric


def known(name: str) -> list[Metric]:
    metrics = []
    for profile in PROFILES:
        try:
            metrics.append(get_metric(name, profile))
        except InputError:
            assert profile != "official"
    return metrics


ALL = [one for name in METRICS for one in known(name)]
PIECES = "yes No, not two 3.5 1,000 % B (b) the A. answer is it's n't don't -lrb- \u0130 \u0663 .."
_NUMBERS = itertools.count()
WORDS = st.sampled_from(PIECES.split())
TEXTS = st.text(max_size=20) | st.lists(WORDS, max_size=8).map(" ".join)


def item(name: str, prediction: str, text: str, choice: int) -> Item:
    """A row whose answers suit the metric: any text where any text may be one."""
    answers = {
        "pope": ("yes" if choice else "no",),
        "mme": ("yes" if choice else "no",),
        "mmmu": ("AB"[choice],),
        "circular_choice": ("AB"[choice],),
        "counting": (str(choice), text),
        "multiple_choice": ("AB"[choice],),
    }.get(name, (text, "a dog runs", text))
    columns = {"choices": ["a dog", "two cats"], "index": choice, "category": "OCR"}
    return Item(prediction, answers, "what?", columns | {"pair": next(_NUMBERS) // 2})


def test_names() -> None:
    for name in METRICS:
        assert get_metric(name).name == name
        assert get_metric(name) is get_metric(name, "official")


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'vqa_accuracy'.*there are vqa_accuracy"):
        get_metric("vqa-acuracy")
    with pytest.raises(InputError, match="did you mean 'lmms-eval'"):
        get_metric("pope", "lmmseval")
    with pytest.raises(InputError, match="no rules of vlmevalkit are known for bleu"):
        get_metric("bleu", "vlmevalkit")
    with pytest.raises(InputError, match="no metric 'xyzzy'; there are"):
        get_metric("xyzzy")


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 1)), min_size=1, max_size=4))
def test_no_text_makes_a_metric_raise(name: str, rows: list[tuple[str, str, int]]) -> None:
    items = [item(name, *row) for row in rows]
    for one in known(name):
        scores = one.rows(items)
        most = 10 + 1e-9 if name == "cider_d" else 1
        assert scores.shape == (len(items),)
        assert ((scores >= 0) & (scores <= most)).all()
        for key, value in one.of(items).items():
            limit = np.inf if key in PLAIN else most
            assert 0 <= value <= limit
        for row in items:
            assert all(isinstance(line, str) and line for line in one.explain(row))


def sample(name: str) -> list[Item]:
    texts = ["yes", "no", "", "A dog runs", "a dog ran on 2 legs", "B", "two cats", "1"]
    return [item(name, text, texts[-1 - i], i % 2) for i, text in enumerate(texts)]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_sums_give_the_values_in_any_order(one: Metric) -> None:
    items = sample(one.name)
    whole = one.of(items)
    statistics = one.statistics(items)  # [R, K]
    assert statistics.shape[0] == len(items)
    parts = np.stack([statistics[:3].sum(0), statistics[3:].sum(0), statistics.sum(0)])  # [3, K]
    values = one.values(parts)
    assert one.main in values
    assert {key: value.shape for key, value in values.items()} == dict.fromkeys(whole, (3,))
    assert {key: value[2] for key, value in values.items()} == pytest.approx(whole)
    assert one.values(parts[None])[one.main].shape == (1, 3)
    random.Random(0).shuffle(items)
    assert one.of(items) == pytest.approx(whole)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("prediction", ["", " ", "\n\t"])
def test_no_prediction_scores_nothing(one: Metric, prediction: str) -> None:
    items = [item(one.name, prediction, "", choice) for choice in (0, 1)]
    assert one.rows(items).tolist() == [0.0, 0.0]
    assert one.of(items)[one.main] == 0.0


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_no_rows_are_no_score(one: Metric) -> None:
    with pytest.raises(InputError, match="no rows"):
        one.of([])


def test_scores_need_no_models() -> None:
    code = (
        "import sys; import vqa.metrics; "
        "sys.exit(bool({'torch', 'transformers', 'sacrebleu'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
