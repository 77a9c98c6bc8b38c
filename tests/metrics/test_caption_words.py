import pytest

from vqa.metrics.caption_words import caption_words


# what coco-caption's PTBTokenizer (Stanford CoreNLP 3.4.1, Java) gives for these lines
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog's ball, on the grass!", "a dog 's ball on the grass"),
        (
            "Snow-covered, isn't it? I can't, won't and cannot go.",
            "snow-covered is n't it i ca n't wo n't and can not go",
        ),
        (
            'A man (in red) holding a "sign" - nice -- really... ok; yes: no',
            "a man -lrb- in red -rrb- holding a sign nice really ok yes no",
        ),
        ("the U.S.A. flag and Mr. Smith at 5 p.m.", "the u.s.a. flag and mr. smith at 5 p.m."),
        ("$2,000 for 3.5 apples & 50% off", "$ 2,000 for 3.5 apples & 50 % off"),
        ("and/or the 1/2 cup t-shirt's", "and/or the 1/2 cup t-shirt 's"),
        ("I'm gonna wanna they've we'd you'll", "i 'm gon na wan na they 've we 'd you 'll"),
        (
            "\u2018quoted\u2019 \u201ctext\u201d it\u2019s don\u2019t caf\u00e9",
            "quoted text it 's do n't caf\u00e9",
        ),
        (
            "[bracket] {brace} <tag> a_b a*b 10:30am",
            "-lsb- bracket -rsb- -lcb- brace -rcb- <tag> a_b a * b 10:30 am",
        ),
        ("two dogs.A cat runs.  end .", "two dogs.a cat runs end"),
        ("rock 'n' roll the dogs' bowl", "rock 'n' roll the dogs bowl"),
        ("hello! world?! wow!!! what??", "hello world ?! wow !!! what ??"),
        ("x=y + z http://foo.com/bar me@x.org", "x = y + z http://foo.com/bar me@x.org"),
        ("No. 5 vs. No.", "no. 5 vs. no"),
        ("", ""),
        (" ... ", ""),
    ],
)
def test_words_of_the_original(text: str, words: str) -> None:
    assert " ".join(caption_words(text)) == words


def test_long_texts_take_no_time() -> None:
    assert len(caption_words("a" * 50_000)) == 1
    assert len(caption_words("n't" * 5_000)) > 0
    assert len(caption_words("a-" * 20_000)) > 0


def test_an_accent_may_be_a_mark_of_its_own() -> None:
    assert caption_words("a cafe\u0301") == caption_words("a caf\u00e9")
