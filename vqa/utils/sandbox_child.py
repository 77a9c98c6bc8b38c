"""What `vqa.utils.sandbox` runs in a process of its own: nothing of this package is imported here.

Each line of the input is a request in JSON, each line of the output its result. A request that
takes too long ends the process.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

_LONGEST_TEXT = 4 << 20  # characters that a template may write


def main() -> None:
    """Answer requests until the input ends; each says how many seconds and bytes it may take."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            with _at_most(request.pop("seconds"), request.pop("memory")):
                result = _JOBS[request.pop("job")](**request)
        except MemoryError:
            result = {"too much": "it takes too much memory"}
        except RecursionError:
            result = {"too much": "it calls itself without end"}
        except BaseException as error:  # a library's panic is no Exception
            result = {"error": (str(error) or type(error).__name__)[:1000]}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


@contextmanager
def _at_most(seconds: float, memory: int) -> Iterator[None]:
    """End the process by a signal after so much processor time, and refuse more memory."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
    timer = getattr(signal, "setitimer", None)
    if timer is None:  # who asked ends it by the clock
        yield
        return
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    timer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        timer(signal.ITIMER_PROF, 0)


def _render(template: str, variables: dict[str, Any]) -> dict[str, Any]:
    text = _compiled(template).render(**variables)
    if len(text) > _LONGEST_TEXT:
        return {"too much": f"it writes {len(text):,} characters"}
    return {"text": text}


def _match(patterns: list[str], names: list[str]) -> dict[str, Any]:
    for pattern in patterns:
        compiled = re.compile(pattern)
        for name in names:
            compiled.fullmatch(name)
    return {}


def _tokenize(file: str, texts: list[str], most: int) -> dict[str, Any]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(file)
    for text in texts:
        count = len(tokenizer.encode(text).ids)
        if count > most * (len(text) + 1):
            return {"error": f"it makes {count:,} tokens of {len(text)} characters"}
    return {}


@lru_cache(8)
def _compiled(template: str) -> Any:
    """Compile a template in an environment such as transformers makes for chat templates."""
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks what the assistant writes, and writes nothing itself."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    class Namespace(jinja2.utils.Namespace):
        """A namespace without names that begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            self, *rest = args
            values = dict(*rest, **kwargs)
            for name in values:
                _plain(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name: str, value: Any) -> None:
            _plain(name)
            super().__setitem__(name, value)

    def _plain(name: str) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the name {name!r}")

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
        sort_keys: bool = False,
    ) -> str:  # fmt: skip
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": Namespace,
    }
    return environment.from_string(template)


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "match": _match,
    "render": _render,
    "tokenize": _tokenize,
}

if __name__ == "__main__":
    main()
