"""Kill a command at moments of all its work, start it again, and see that it ends all the same."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cli.run import environment

# what is patched costs nothing but makes more of the command's moments differ
_RUN = """
import sys
from vqa.alignment import search
search._SAVE_EVERY, search._AT_ONCE = 0.0, 1
from vqa.cli import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Command:
    """A command, and the path that appears when its work begins."""

    arguments: Sequence[str | Path]
    begun: Path
    cache: Path

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, *map(str, self.arguments)],
            env=environment({"VQA_CACHE": str(self.cache)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def to_the_end(self) -> tuple[float, float]:
        """Seconds until the work begins, and from then to the end."""
        began = time.monotonic()
        process = self.start()
        ready = began
        while process.poll() is None:
            if ready == began and self.begun.exists():
                ready = time.monotonic()
            time.sleep(0.002)
        printed, errors = process.communicate()
        assert process.returncode == 0, (printed, errors)
        return ready - began, time.monotonic() - ready


def kill(
    command: Command, times: int, seconds: tuple[float, float], seed: int
) -> list[tuple[float, bool]]:
    """Kill the command so often, most times in its work; when, and whether it still ran."""
    chance = random.Random(seed)
    kills = []
    for number in range(times):
        process = command.start()
        before, work = seconds
        if number % 5 == 4:  # while it is loaded
            moment = chance.uniform(0, before)
            time.sleep(moment)
        else:
            # what it has done already need not be done again: the rest is shorter every time
            moment = chance.uniform(0, work / (2 + number / 2))
            end = time.monotonic() + before * 3
            while not at_work(process.pid, command.begun) and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.002)
            time.sleep(moment)
        kills.append((moment, process.poll() is None))
        process.kill()
        process.communicate()
    return kills


def at_work(pid: int, begun: Path) -> bool:
    """Whether the process has the lock of its output, by which its work begins."""
    try:
        name = str(begun.parent / f".{begun.name}.lock")
        return any(str(path.readlink()) == name for path in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def killed_like_unbroken(
    of: Callable[[Path], Command], tmp_path: Path, times: int, seed: int
) -> tuple[Path, Path, list[tuple[float, bool]]]:
    """The outputs of an unbroken run and of one that was killed so often."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seconds = of(whole).to_the_end()
    kills = kill(of(parts), times, seconds, seed)
    of(parts).to_the_end()
    return whole, parts, kills
