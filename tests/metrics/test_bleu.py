import math
import unicodedata
from collections import Counter
from collections.abc import Sequence

import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.bleu import plain, sentence_bleu


def corpus_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    items = [Item(p, tuple(texts)) for p, texts in zip(predictions, references, strict=True)]
    return get_metric("bleu").of(items)["score"]


def test_worked_example() -> None:
    # precisions 7/7, 5/6, 4/5, 3/4 against both references together; as long as the closest one
    references = ["A dog runs on grass.", "The dog runs on the green lawn."]
    score = corpus_bleu(["A dog runs on the green grass."], [references])
    assert score == pytest.approx(0.5**0.25, abs=1e-6)


def test_brevity_penalty() -> None:
    # all n-grams match, 5 words against 7
    score = corpus_bleu(["the dog runs on the"], [["the dog runs on the green lawn"]])
    assert score == pytest.approx(math.exp(1 - 7 / 5), abs=1e-6)


def test_words_are_clipped_by_the_reference() -> None:
    # Papineni et al. 2002: seven times "the" against two
    candidate, reference = "the the the the the the the", "the cat is on the mat"
    matches = Counter(candidate.split()) & Counter(reference.split())
    assert sum(matches.values()) == 2
    assert sentence_bleu(candidate, [reference]) < 0.1


def test_counts_are_pooled_over_the_corpus() -> None:
    predictions = ["a dog runs on grass", "a cat"]
    references = [["a dog runs on grass"], ["a cat sleeps on the warm mat"]]
    pooled = corpus_bleu(predictions, references)
    # every n-gram matches; 7 words against 12
    assert pooled == pytest.approx(math.exp(1 - 12 / 7), abs=1e-6)
    mean = sum(map(sentence_bleu, predictions, references)) / 2
    assert pooled != pytest.approx(mean, abs=0.05)


def test_case_and_punctuation_do_not_count() -> None:
    score = corpus_bleu(["A DOG'S ball, on the grass!"], [["a dog's ball on the grass ."]])
    assert score == pytest.approx(1.0)
    assert plain("Snow-covered, isn't it?") == "snow covered isnt it"


def test_numbers_of_references_may_differ() -> None:
    predictions = ["a dog runs on grass", "two men sit on a bench"]
    references = [["a dog runs on grass"], ["no such words here at all", "two men sit on a bench"]]
    assert corpus_bleu(predictions, references) == pytest.approx(1.0)


def test_nothing_scores_nothing() -> None:
    assert corpus_bleu([""], [["a dog"]]) == 0.0
    assert sentence_bleu("", ["a dog"]) == 0.0


def test_sums_give_what_sacrebleu_gives_for_the_corpus() -> None:
    from sacrebleu import corpus_bleu as oracle

    rows = [
        ("a dog runs on the green grass", ["a dog runs on grass", "the dog runs on a green lawn"]),
        ("two men", ["two men play soccer on a field", "men play football"]),
        ("a cat sleeps on a warm sofa today", ["a cat sleeps on a sofa", "the cat is on a sofa"]),
        ("nothing fits here at all", ["a man rides a bike", "a rider"]),
    ]
    for chosen in (rows, rows[1:], rows[3:], rows[1:2]):
        streams = [[references[i] for _, references in chosen] for i in range(2)]
        expected = oracle(
            [prediction for prediction, _ in chosen],
            streams,
            tokenize="none",
            smooth_method="exp",
            force=True,
        )
        score = corpus_bleu([p for p, _ in chosen], [r for _, r in chosen])
        assert score == pytest.approx(expected.score / 100, abs=1e-12)


def test_explanation() -> None:
    lines = get_metric("bleu").explain(Item("A dog runs.", ("a dog runs fast",)))
    assert "3 of 3 n-grams of 1 words are in a reference" in lines
    assert "3 words against 4 of the closest reference" in lines


def test_vowel_signs_and_accents_are_no_punctuation() -> None:
    assert corpus_bleu(["पानी पीना पानी पीना"], [["पाना पानी पाना पानी"]]) < 0.5
    text = "un café noir à côté de la tasse"
    assert corpus_bleu([unicodedata.normalize("NFD", text)], [[text]]) == pytest.approx(1)
