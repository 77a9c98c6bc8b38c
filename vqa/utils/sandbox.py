"""Run what a stranger's model has to compute in a process with little time and memory.

A chat template is a program, and a regular expression may take for ever: in this process neither
could be stopped. The other one imports nothing heavy, is started in 0.1 seconds of its own time and
then waits for more; what goes wrong in it ends it, and nothing else.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa.errors import InputError

_CHILD = Path(__file__).with_name("sandbox_child.py")
_PATIENCE = 30.0  # seconds by the clock: a busy machine gives a process little of the processor
# of the processor, for a template or patterns; a long conversation takes 0.05
_SECONDS = 1.0
_MEMORY = 400 << 20  # bytes, the interpreter included
_TOKENIZER_MEMORY = 800 << 20  # of the largest vocabularies, 300 MB
_BYTES_A_SECOND = 4 << 20  # of a tokenizer's file; a slow processor reads twice as many
_MOST_TOKENS = 64  # of a character

_TEXTS = (
    "What is in the picture? USER: <image>\nHow many dogs (2 or 3) are there? ASSISTANT: two.",
    *(char * 80 + "!" for char in "a 0.\u4e2d\n"),
    "aA1 " * 30 + "\u00e9\u0301\U0001f600",
)


class OverLimit(InputError):
    """A computation that takes more time or memory than it may."""


class Sandbox:
    """The other process; any thread may send it jobs, which run one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it: a fork has pipes that are not its own

    def start(self) -> None:
        """Start the process early, if it does not run; does not wait."""
        with self._lock:
            self._ensure_process()

    def run(
        self, job: str, seconds: float = _SECONDS, memory: int = _MEMORY, **values: Any
    ) -> dict[str, Any]:
        """Run a job and return its result. Raises InputError, with a reason in one line."""
        limits = {"seconds": seconds, "memory": memory}
        line = json.dumps({"job": job, **limits, **values}).encode() + b"\n"
        with self._lock:
            process = self._ensure_process()
            assert process.stdin is not None and process.stdout is not None
            timer = threading.Timer(_PATIENCE, process.kill)
            timer.daemon = True
            timer.start()
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except (OSError, ValueError):  # it has ended, or this program ends and closed its pipes
                answer = b""
            finally:
                timer.cancel()
            if not answer.endswith(b"\n"):
                self._stop()
                raise OverLimit(f"it takes more than {seconds:.2g} seconds")
        result: dict[str, Any] = json.loads(answer)
        if "too much" in result:
            raise OverLimit(result["too much"])
        if "error" in result:
            raise InputError(" ".join(str(result["error"]).split()))
        return result

    def _ensure_process(self) -> subprocess.Popen[bytes]:
        forked = self._owner != os.getpid()
        if self._process is None or forked or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD)],
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C is for the command
            )
            self._owner = os.getpid()
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()


_SANDBOX = Sandbox()
atexit.register(_SANDBOX._stop)


def start() -> None:
    """Start the process early, where it will be needed."""
    _SANDBOX.start()


def render(template: str, **variables: Any) -> str:
    """Render a chat template. Raises InputError where it refuses, or takes too much."""
    return str(_SANDBOX.run("render", template=template, variables=variables)["text"])


def check_patterns(patterns: Sequence[str], names: Sequence[str]) -> None:
    """Raise InputError where a regular expression is none, or takes too long on one of `names`."""
    _SANDBOX.run("match", patterns=list(patterns), names=list(names))


class TokenizerCheck:
    """A trial of a tokenizer's file on texts, in a thread that begins with this object."""

    def __init__(self, file: Path) -> None:
        self._error: InputError | None = None
        self._thread = threading.Thread(target=self._try, args=(file,), daemon=True)
        self._thread.start()

    def result(self) -> None:
        """Wait for the end. Raises InputError where it takes too much, or is none."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _try(self, file: Path) -> None:
        try:
            seconds = _SECONDS + file.stat().st_size / _BYTES_A_SECOND
            _SANDBOX.run(
                "tokenize",
                seconds,
                _TOKENIZER_MEMORY,
                file=str(file.absolute()),
                texts=_TEXTS,
                most=_MOST_TOKENS,
            )
        except OSError:  # a missing file the library reports
            return
        except InputError as error:
            self._error = InputError(f"tokenizer.json: {error}")
        except RuntimeError as error:  # no thread can be started: the program ends meanwhile
            self._error = InputError(f"tokenizer.json: it cannot be checked: {error}")
