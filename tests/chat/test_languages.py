import pytest

from vqa.chat.languages import is_foreign


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("What is in the picture?", False),
        ("Où est le café ?", False),
        ("What does 猫 mean?", False),
        ("这是什么？", True),
        ("Что это?", True),
        ("这是 a cat 吗？图片里有什么", True),
        ("123 ?", False),
        ("", False),
    ],
)
def test_which_letters(text: str, foreign: bool) -> None:
    assert is_foreign(text) is foreign
