"""The failures a user may see: one line that says what, where and what to do.

A message names a parameter in backticks, as `device`; the command line shows its option, --device.
"""

_LONGEST = 3000  # characters; ten bad rows in one message have fewer


def printable_line(text: str, most: int) -> str:
    """Write a text as one line that any terminal can print, a longer one cut in its middle."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    tail = most // 3  # the advice stands at the end
    return text if len(text) <= most else f"{text[: most - tail - 3]}...{text[-tail:]}"


def error_line(error: BaseException) -> str:
    """Give a library's error about a model's files in one line of at most 300 characters."""
    text = str(error)
    if "trust_remote_code" in text:
        return "it needs code of its own (auto_map), and no code that comes with a model is run"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    first = lines[0] if lines else ""
    if first.endswith(":") and len(lines) > 1:  # a heading
        first = f"{first} {lines[1]}"
    if isinstance(error, AttributeError | TypeError):  # Python's words, of a value inside a library
        first = f"a setting in its files has a value of the wrong kind ({first})"
    if isinstance(error, KeyError) or not first:  # a key alone says nothing
        first = f"{type(error).__name__} {first}".strip()
    return first if len(first) <= 300 else f"{first[:297]}..."


class VQAError(Exception):
    """A failed run; the command line prints the message and exits with `exit_code`.

    The message is one line that any terminal can print, and not too long, whatever a file's name, a
    library or a stranger's text has put into it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable_line(super().__str__(), _LONGEST)


class InputError(VQAError):
    """What the user gave is wrong: a file, an option, a config key, a model directory."""

    exit_code = 2


class DiskError(VQAError):
    """A disk that is full, or fails: the file and the reason."""


class LostFile(VQAError):
    """What a run was writing is no longer where the user expects it; nothing can go on there."""


class NotFiniteError(VQAError):
    """A model has computed NaN or infinity, of which no answer or score follows.

    `detail` says more of it. `wider` is whether the model can be loaded in float32, where numbers
    may be larger.
    """

    def __init__(self, detail: str = "", wider: bool = True) -> None:
        advice = "; try float32" if wider else ""
        about = f" ({detail})" if detail else ""
        super().__init__(f"the model's numbers are not finite{advice}{about}")
