from __future__ import annotations

import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.limits import fuzz
from vqa.batches.unpack import ZipLimits, unpack
from vqa.errors import InputError

LIMITS = ZipLimits(files=20, size=1_000_000, ratio=50, free=0)


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file


def taken(file: io.BytesIO, folder: Path, limits: ZipLimits = LIMITS) -> dict[str, bytes]:
    unpack(file, "The zip", folder / "out", limits)
    paths = [path for path in (folder / "out").rglob("*") if path.is_file()]
    return {path.relative_to(folder / "out").as_posix(): path.read_bytes() for path in paths}


def test_files_come_out_as_they_are(tmp_path: Path) -> None:
    files = {"a.jpg": b"one", "in/b c.jpg": b"two", "Bild \u202fgrün 猫 👨\u200d👩.png": b""}
    extra = {"__MACOSX/._a.jpg": b"x", "empty/": b""}
    assert taken(packed(files | extra), tmp_path) == files


def test_names_of_other_systems(tmp_path: Path) -> None:
    file = packed({"fotos\\猫.png": b"cat"})
    raw = bytearray(file.getvalue())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # take away that the name is UTF-8
        start = raw.index(mark) + place
        raw[start : start + 2] = struct.pack("<H", 0)
    assert taken(io.BytesIO(raw), tmp_path) == {"fotos/猫.png": b"cat"}


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "..\\x", "a\n.jpg", "\x1b[31m.jpg", "a" * 1001, "./"]
)
def test_paths_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        taken(packed({"good.jpg": b"1", name: b"2"} if name != "./" else {"./": b""}), tmp_path)
    assert len(str(error.value).splitlines()) == 1 and "\x1b" not in str(error.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["good.jpg"])


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    raw = bytearray(packed({"a.jpg": b"1"}).getvalue())
    for mark, place in ((b"PK\3\4", 30), (b"PK\1\2", 46)):
        raw[raw.index(mark) + place] = 0  # where the library ends a name
    with pytest.raises(InputError):
        taken(io.BytesIO(raw), tmp_path)


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for number, kind in enumerate((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)):
        entry = zipfile.ZipInfo("link.jpg")
        entry.external_attr = (kind | 0o777) << 16
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(entry, "/etc/passwd")
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(InputError, match="a link or a device"):
            taken(file, folder)


def test_unusual_packing_encryption_and_twice_the_same_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unusual way"):
        taken(packed({"a.jpg": b"1" * 99}, zipfile.ZIP_LZMA), tmp_path)
    raw = bytearray(packed({"a.jpg": b"1"}).getvalue())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(mark) + place] |= 1
    with pytest.raises(InputError, match="without a password"):
        (tmp_path / "b").mkdir()
        taken(io.BytesIO(raw), tmp_path / "b")
    file = packed({"a.jpg": b"1"})
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("a.jpg", b"2")
    with pytest.raises(InputError, match=r"'a\.jpg' twice"):
        (tmp_path / "c").mkdir()
        taken(file, tmp_path / "c")


def test_bombs_are_stopped_by_what_comes_out(tmp_path: Path) -> None:
    bomb = packed({"a.jpg": bytes(3_000_000)})
    with pytest.raises(InputError, match=r"more than can be taken"):
        taken(bomb, tmp_path, ZipLimits(20, 10_000_000, 50, 0))
    assert (tmp_path / "out" / "a.jpg").stat().st_size < 1_500_000
    raw = bytearray(bomb.getvalue())  # a header that promises less
    raw[raw.index(b"PK\1\2") + 24 :][:4] = struct.pack("<I", 10)
    lying = bytes(raw[: raw.index(b"PK\1\2") + 24]) + struct.pack("<I", 10)
    lying += bytes(raw[raw.index(b"PK\1\2") + 28 :])
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError):
        taken(io.BytesIO(lying), tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="holds 21 files; at most 20"):
        taken(packed({f"{n}.jpg": b"" for n in range(21)}), tmp_path / "c")
    with pytest.raises(InputError, match="disk of this server is too full"):
        (tmp_path / "d").mkdir()
        taken(packed({"a.jpg": b"1"}), tmp_path / "d", ZipLimits(20, 100, 50, 1 << 60))


def test_folders_are_counted_and_take_a_block_each(tmp_path: Path) -> None:
    files = {f"{n}/{'a/' * 9}b": b"" for n in range(9)}
    with pytest.raises(InputError, match="at most 20 files and folders"):
        taken(packed(files), tmp_path)
    assert len(list(tmp_path.rglob("*"))) <= 21
    small = ZipLimits(files=1000, size=40 * 4096, ratio=50, free=0)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="more than can be taken"):
        taken(packed(files), tmp_path / "b", small)
    (tmp_path / "c").mkdir()
    again = {f"a/b/{n}": b"" for n in range(18)}  # folders that are there already cost nothing
    assert taken(packed(again), tmp_path / "c") == again


def test_deep_names_are_refused(tmp_path: Path) -> None:
    deep = {f"{'a/' * 19}b": b"1"}
    limits = ZipLimits(files=100, free=0)
    assert taken(packed(deep), tmp_path, limits) == deep
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="which cannot be taken"):
        taken(packed({f"{'a/' * 20}b": b"1"}), tmp_path / "b", limits)


def test_a_long_list_of_contents_is_not_read(tmp_path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 17 << 20, 0, 0)
    with pytest.raises(InputError, match="list of contents is too long"):
        taken(io.BytesIO(bytes(17 << 20) + end), tmp_path)


def test_what_is_no_zip(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"text", packed({"a": b"1" * 50}).getvalue()[:-30])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(InputError, match="no zip file that can be read"):
            taken(io.BytesIO(content), folder)
    with pytest.raises(InputError, match="holds no files"):
        taken(packed({}), tmp_path)


GOOD = packed({"a.jpg": b"one" * 40, "b/c.png": b"two"}).getvalue()


@fuzz
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6))
def test_damage_is_one_line_and_nothing_leaves_the_folder(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(GOOD)
    for place, value in changes:
        raw[place] = value
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            taken(io.BytesIO(raw), folder)
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        assert {path.name for path in folder.iterdir()} <= {"out"}


@fuzz
@given(st.text(min_size=1, max_size=30).filter(lambda name: "\ud800" not in ascii(name)))
def test_any_name_stays_inside_or_is_refused(name: str) -> None:
    try:
        file = packed({name: b"1"})
    except (UnicodeError, ValueError, IndexError):  # the library cannot write it
        return
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        try:
            taken(file, folder)
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        assert {path.name for path in folder.iterdir()} <= {"out"}
