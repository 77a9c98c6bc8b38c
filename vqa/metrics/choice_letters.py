"""Find the choice that a free answer names by its letter: what it marks as final, then `B` in it.

Letters are looked for in these places, in this order; where a place names several, the last counts:

1. alone, whatever marks stand around it: `B`, `b.`, `(B)`, `**B**`, `B。`, `【B】`;
2. behind `answer` (`The answer is: B.`, `Answer: b`, `"answer": "B"`, `答案是B`, `정답은 B`);
3. at the beginning: `B. a dog`, `(b) a dog`, `B、狗`, `B: a dog`, a line with the letter alone;
4. alone on the last line;
5. behind `option`, `choose` or `选`, before `选项` or `正确`: `I choose B`, `故选B`, `B选项正确`;
6. in brackets: `(B)`;
7. a capital standing by itself.

`A` and `I` are words where another word follows (`A dog`, `the answer is a dog`, `I think`), unless
that one goes on about a letter (`A is right`, `A because ...`) or begins the text of choice A. A
letter that is ruled out (`not A`, `A is wrong`, `不选A`) names nothing in the last three places.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_letters

_MARKS = " \t\r\n.,:;!?'\"*`_()[]{}<>$\\-。、【】「」『』《》〈〉“”‘’"
_THOUGHT = re.compile(r"(?is)^.*</\s*think(?:ing)?\s*>")  # the opening tag is often in the prompt
_TAGGED = re.compile(
    r"(?is)<\s*(answer|final_?answer|conclusion|solution)\s*>(.*?)(?:<\s*/\s*\1\s*>|\Z)"
    r"|<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|\Z)"
)
_BOX = re.compile(r"oxed\s*\{")  # JSON may have made a backspace of \b
_STYLED = re.compile(r"\\(?:text|math|bold|bm|rm|bf)\w*\s*\{([^{}]*)\}")

_GAP = r"[\s'\"*`_]*"
_LINK = (
    rf"(?:{_GAP}(?:is|was|be|should|would|must|will|likely|probably|clearly|therefore|the|correct"
    r"|option|choice|letter|[=:]|[-=]>)){0,8}"
)
_LETTER = r"[\s'\"*`_(\[{<$\\【「『“]*([A-Za-z])(?![A-Za-z0-9_]|'[A-Za-z])"
_ANSWER = re.compile(
    rf"(?i:\banswers?\b{_LINK}"
    r"|(?:答案|正解|答え|정답|답)\s*(?:应该|應該|应|應|就)*(?:是|为|為|は|은|는)?[\s:*]*(?:选项|選項|选择|選擇|选|選)?"
    rf"[\s:*]*){_LETTER}"
)
_FIRST = re.compile(
    r"[\s'\"*`_$【「『“]*"
    r"(?:[(\[]([A-Za-z])[)\]]|([A-Za-z])['\"*`_】」』”]*(?:[.):、。]|\s+[-–—](?=\s)|\s*?(?=\n))|([A-Z]),)"
)
_OPTION = re.compile(
    rf"(?i:\b(?:options?|choices?|choose|select|pick)\b{_LINK}"
    rf"|(?<!不)(?:选择|選擇|选项|選項|选|選)[\s:*]*){_LETTER}"
    r"|(?<![A-Za-z0-9])([A-Za-z])\s*(?:选项|選項|项|項|(?:是|为|為)?\s*(?:正确|正確|对的|對的|最))"
)
_BRACKETS = re.compile(r"(?<!\w)\(([A-Za-z])\)")
_CAPITAL = re.compile(r"(?<!\S)['\"*`_(\[{<“]*([A-Z])(?=[.,;:!?'\"*`_)\]}>”]*(?:\s|\Z))")
_RULED_OUT_BEFORE = re.compile(
    r"(?i)(?:\bnot|n't|\bthan|\binstead of|不是|不选|排除)[\s'\"*`_(\[]*"
    r"(?:the|option|choice|answer|选项|\s)*[\s'\"*`_(\[]*\Z"
)
_RULED_OUT_BEHIND = re.compile(
    r"(?i)[\s'\"*`_)\]}]*(?:选项|選項|项|項)?\s*(?:is|was|是|为|為)?\s*(?:wrong|incorrect|not\b|错|錯|不)"
)
_NEAR = 40  # characters in which what belongs to a letter stands
_NEXT_WORD = re.compile(r"[ \t]+([^\W\d_][\w'’]*)")
_NAMED = re.compile(r"(?i)\b(?:option|choice)[\s'\"*`_(\[]*\Z")  # what follows is no article
_NO_NOUNS = """
as because based but correct describes due fits for if in is looks matches or seems shows since
that when which while with
"""
_BEHIND_A = frozenset(f"{_NO_NOUNS} and could may might shall should was will would".split())
_BEHIND_I = frozenset(_NO_NOUNS.split())


def final_answer(text: str) -> str:
    r"""Return what a text marks as its answer, without marks; the text itself where it marks none.

    >>> final_answer("A dog? <think>B or C</think> So $\\boxed{\\text{B}}$")
    'B'
    """
    text = _THOUGHT.sub("", text) or text
    tagged = [(match[2] or match[3] or "").strip() for match in _TAGGED.finditer(text)]
    text = next(filter(None, reversed(tagged)), text)
    text = _boxed(text) or text
    before = ""
    while before != text:
        before, text = text, _STYLED.sub(r"\1", text)
    return text


def letter_of(text: str, choices: Sequence[str]) -> int | None:
    """Return the place of the choice whose letter the text names; None where it names none."""
    text = unicodedata.normalize("NFKC", text)  # Ｂ and （B） as B and (B)
    if (alone := _alone(text, len(choices))) is not None:
        return alone
    for place in (
        _last(_ANSWER.finditer(text), text, choices),
        _last(_first(text, choices), text, choices),
        _alone(text.strip().splitlines()[-1] if text.strip() else "", len(choices)),
        _last(_OPTION.finditer(text), text, choices, sure=False),
        _last(_BRACKETS.finditer(text), text, choices, sure=False),
        _last(_CAPITAL.finditer(text), text, choices, sure=False),
    ):
        if place is not None:
            return place
    return None


def _boxed(text: str) -> str:
    r"""Return what the last `\boxed{...}` holds; nothing where there is none."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return ""
    inside, depth = text[boxes[-1].end() :], 1
    for i, character in enumerate(inside):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return inside[:i].strip()
    return inside.strip()  # was cut off


def _place(letter: str, count: int) -> int | None:
    place = ascii_letters.find(letter) % 26 if letter in ascii_letters else count
    return place if place < count else None


def _alone(text: str, count: int) -> int | None:
    bare = text.strip(_MARKS)
    return _place(bare, count) if len(bare) == 1 else None


def _first(text: str, choices: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the letter that the text begins with, unless it is that of an abbreviation (`D.C.`)."""
    match = _FIRST.match(text)
    if match is None:
        return
    follows = text[match.end() : match.end() + 1]
    apart = not follows.isascii() or not follows.isalnum()
    if match[1] or apart or _begins_with_own_text(_letter(match), text, match.end(), choices):
        yield match


def _last(
    matches: Iterator[re.Match[str]], text: str, choices: Sequence[str], sure: bool = True
) -> int | None:
    """Return the last letter of a choice that is no word; unless `sure`, none that is ruled out."""
    last = None
    for match in matches:
        place = _place(_letter(match), len(choices))
        if place is None or _is_word(match, text, choices):
            continue
        if sure or not _is_ruled_out(match, text):
            last = place
    return last


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group)


def _is_ruled_out(match: re.Match[str], text: str) -> bool:
    before = text[max(0, match.start() - _NEAR) : match.start()]
    return bool(_RULED_OUT_BEFORE.search(before) or _RULED_OUT_BEHIND.match(text, match.end()))


def _is_word(match: re.Match[str], text: str, choices: Sequence[str]) -> bool:
    """Return whether the letter is the article or the pronoun."""
    letter, end = _letter(match), match.end()
    before, _, mark = text[max(0, end - _NEAR) : end].rpartition(letter)
    if letter not in "AaIi" or mark or (letter.isupper() and _NAMED.search(before)):
        return False
    follows = _NEXT_WORD.match(text, end)
    of_letters = _BEHIND_A if letter in "Aa" else _BEHIND_I
    if follows is None or follows[1].lower() in of_letters:
        return False
    return not _begins_with_own_text(letter, text, end, choices)


def _begins_with_own_text(letter: str, text: str, at: int, choices: Sequence[str]) -> bool:
    """Return whether at this place behind a letter the text of its choice begins."""
    place = _place(letter, len(choices))
    own = " ".join(choices[place].casefold().split()) if place is not None else ""
    rest = text[at : at + len(own) + _NEAR]
    return bool(own) and " ".join(rest.casefold().split()).startswith(own)
