"""Which words of an answer stand in the text that was read in its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

Span = tuple[int, int]  # of characters, the end not in it

# A number with its separators, as 12.50, and a word with an apostrophe or hyphen, are whole. Of
# Chinese and Japanese, which write no spaces, each character is a word.
_WORD = re.compile(
    r"\d+(?:[.,:/]\d+)*%?|[\u3040-\u30ff\u3400-\u9fff]"
    r"|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019-][^\W\d_\u3040-\u30ff\u3400-\u9fff]+)*"
)
_BETWEEN = re.compile(r"[ \t,.;:&'\u2019/+\u00b7\u2013-]{0,3}")  # words that are marked as one
_QUOTED = re.compile('"([^"]*)"')
# words of every sentence: alone they quote nothing
_COMMON = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "do", "for", "from", "has",
    "have", "he", "her", "his", "i", "if", "in", "is", "it", "its", "me", "my", "no", "not", "of",
    "on", "or", "our", "out", "she", "so", "that", "the", "their", "there", "they", "this", "to",
    "up", "was", "we", "were", "what", "which", "will", "with", "yes", "you", "your",
))  # fmt: skip


def read_rows(hints: Iterable[str]) -> list[str]:
    """Return the rows of text in an answer's hints, as `text_block` wrote them.

    >>> read_rows(['[names: likely sign]\\n[text: "STOP" / "Town | 5 km"]'])
    ['STOP', 'Town | 5 km']
    """
    lines = [line for block in hints for line in block.splitlines()]
    return [row for line in lines if line.startswith("[text:") for row in _QUOTED.findall(line)]


def quoted_spans(answer: str, rows: Sequence[str]) -> list[Span]:
    """Return where words of `answer` follow each other as they do in a row, the longest first.

    Case does not matter. A common word, one letter or one character alone is no quote.

    >>> quoted_spans("It says Stop, 5 km to town.", ["STOP", "Town | 5 km"])
    [(8, 12), (14, 18), (22, 26)]
    """
    words = list(_WORD.finditer(answer))
    places: dict[str, list[tuple[list[str], int]]] = {}  # where each word stands in the rows
    for row in rows:
        known = [_same(match[0]) for match in _WORD.finditer(row)]
        for at, word in enumerate(known):
            places.setdefault(word, []).append((known, at))
    spans: list[Span] = []
    first = 0
    while first < len(words):
        count = max(
            (_common_length(answer, words, first, *place) for place in
             places.get(_same(words[first][0]), ())),
            default=0,
        )  # fmt: skip
        run = [match[0] for match in words[first : first + count]]
        if _is_telling(run):
            spans.append((words[first].start(), words[first + count - 1].end()))
        first += max(count, 1)
    return spans


def marked(text: str, spans: Sequence[Span], mark: Callable[[str], str]) -> str:
    """Put marks around parts of a text: `spans` are in order and do not overlap."""
    parts, end = [], 0
    for start, after in spans:
        parts += [text[end:start], mark(text[start:after])]
        end = after
    return "".join((*parts, text[end:]))


def _common_length(
    answer: str, words: Sequence[re.Match[str]], first: int, known: Sequence[str], at: int
) -> int:
    """Count the words from `first` on that follow each other in a row from `at` on, too."""
    count = 0
    while first + count < len(words) and at + count < len(known):
        word = words[first + count]
        if _same(word[0]) != known[at + count]:
            break
        between = answer[words[first + count - 1].end() : word.start()] if count else ""
        if not _BETWEEN.fullmatch(between):
            break
        count += 1
    return count


def _is_telling(words: Sequence[str]) -> bool:
    if any(word[0].isdigit() for word in words):
        return True
    letters = sum(map(len, words))
    return letters > 1 and any(word.casefold() not in _COMMON for word in words)


def _same(word: str) -> str:
    return word.casefold().replace("\u2019", "'")
