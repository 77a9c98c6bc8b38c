"""Which files of a folder are pictures, and that what is none is counted and not passed over."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.inputs.pictures import encoded, picture
from training.mix.readers import class_folders
from vqa.batches.unpack import ZipLimits, unpack
from vqa.data.formats import daquar
from vqa.data.identity import sha256
from vqa.data.picture_files import has_classes, list_classes, list_pictures
from vqa.data.picture_paths import picture_names
from vqa.errors import InputError
from vqa.inputs.images import load_image

PNG = encoded(picture(), "PNG")
AVIF = encoded(picture(), "AVIF")
SYSTEM = ["._a.jpg", ".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "__MACOSX/._a.jpg",
          ".hidden.png", ".git/x.png", "Icon\r", "@eaDir/a.jpg"]  # fmt: skip


def put(folder: Path, *names: str, content: bytes = PNG) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_pictures(folder).pictures]


def test_pictures_of_every_ending_and_of_none(tmp_path: Path) -> None:
    every = ["a.JPG", "b.Jpeg", "c.jfif", "d.jpe", "e.tif", "f.TIFF", "g.heic", "h.heif", "i.webp",
             "j.bmp", "k.gif", "l.avif", "m.png", "n", "o.txt", "p.mp4", "q.backup.1"]  # fmt: skip
    put(tmp_path, *every)
    assert names(tmp_path) == every
    assert list_pictures(tmp_path).left_out() is None
    assert {load_image(path).size for path in list_pictures(tmp_path).pictures} == {(64, 32)}


def test_what_systems_leave_there_is_not_missed(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", *SYSTEM)
    assert names(tmp_path) == ["a.jpg"]
    assert list_pictures(tmp_path).left_out() is None


def test_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "sub/deep/b.jpg")
    put(tmp_path, "notes.txt", "b.txt", "sub/c", content=b"words")
    put(tmp_path, "manual.pdf", content=b"%PDF-1.7")
    put(tmp_path, "movie.mp4", content=b"\0\0\0\x18ftypmp42\0\0\0\0")
    put(tmp_path, "empty", content=b"")
    listing = list_pictures(tmp_path)
    assert [listing.name(path) for path in listing.pictures] == ["a.jpg", "sub/deep/b.jpg"]
    left_out = listing.left_out()
    assert left_out is not None
    assert left_out.line_about(tmp_path) == (
        f"{tmp_path}: left out: 6 files that are no pictures (such as b.txt)"
    )


def test_what_says_to_be_a_picture_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", content=b"%PDF-1.7")
    (tmp_path / "b.png").symlink_to("nowhere")
    assert names(tmp_path) == ["a.jpg", "b.png"]


def test_links(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.jpg", "sub/b.jpg")
    put(tmp_path / "elsewhere", "c")
    (tmp_path / "photos/to-a-file").symlink_to(tmp_path / "elsewhere/c")
    (tmp_path / "photos/sub/back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/gone").symlink_to("nowhere")
    (tmp_path / "photos/itself").symlink_to("itself")
    os.mkfifo(tmp_path / "photos/pipe")
    assert names(tmp_path / "photos") == ["a.jpg", "sub/b.jpg", "to-a-file"]
    left_out = list_pictures(tmp_path / "photos").left_out()
    assert left_out is not None
    assert sorted(left_out.parts) == [
        "1 device or pipe (pipe)",
        "2 links that lead nowhere (such as gone)",
        "2 links to folders, which are not followed (such as other)",
    ]


def test_a_folder_without_pictures_says_what_it_has(tmp_path: Path) -> None:
    put(tmp_path / "texts", "notes.txt", content=b"words")
    with pytest.raises(InputError, match=r"no pictures in it \(JPEG, .*1 file that is no picture"):
        list_pictures(tmp_path / "texts")
    with pytest.raises(InputError, match="no such folder"):
        list_pictures(tmp_path / "none")
    with pytest.raises(InputError, match="a file, where a folder"):
        list_pictures(tmp_path / "texts/notes.txt")


def test_classes_and_what_lies_beside_and_below_them(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.jpg", "cat/b", "dog/c.avif", ".trash/x.jpg", *SYSTEM)
    put(tmp_path, "cover.jpg", "cat/indoor/d.jpg", "cat/indoor/e.jpg", "dog/x/y/f.jpg")
    put(tmp_path, "labels.csv", "dog/readme.md", content=b"words")
    classes, left_out = list_classes(tmp_path)
    assert {name: [path.name for path in paths] for name, paths in classes.items()} == {
        "cat": ["a.jpg", "b"],
        "dog": ["c.avif"],
    }
    assert left_out is not None
    assert set(left_out.parts) == {
        "1 picture beside the classes' folders (cover.jpg)",
        "2 pictures in cat/indoor, below that of a class (such as cat/indoor/d.jpg)",
        "1 picture in dog/x/y, below that of a class (dog/x/y/f.jpg)",
        "2 files that are no pictures (such as dog/readme.md)",
    }


def test_many_folders_below_classes_make_no_long_line(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.jpg", *(f"cat/{n:02}/{k}.jpg" for n in range(40) for k in range(2)))
    _, left_out = list_classes(tmp_path)
    assert left_out is not None and len(left_out.parts) == 4
    assert left_out.parts[-1] == "74 pictures in more such folders (such as cat/03/0.jpg)"


def test_classes_that_lie_one_folder_lower_are_not_guessed_at(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg")
    assert has_classes(tmp_path)
    with pytest.raises(InputError, match=rf"name the folder.*{tmp_path}/train$"):
        list_classes(tmp_path)
    with pytest.raises(InputError, match="name the folder whose folders are the classes"):
        list(class_folders.read(tmp_path))


def test_a_class_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "set", "cat/a.jpg")
    put(tmp_path / "elsewhere", "b.jpg", "sub/c.jpg")
    (tmp_path / "set/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/round").symlink_to(tmp_path / "set")
    classes, left_out = list_classes(tmp_path / "set")
    assert [len(paths) for paths in classes.values()] == [1, 1, 0]
    assert left_out is not None and any("round/cat" in part for part in left_out.parts)


def test_the_reader_of_the_mix_tells_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "cat/a.jpg", "cat/b.avif", "cat/old/c.jpg", "cat/._a.jpg")
    assert [row.path.name for row in class_folders.read(tmp_path)] == ["a.jpg", "b.avif"]
    assert caplog.messages == [
        f"{tmp_path}: left out: 1 picture in cat/old, below that of a class (cat/old/c.jpg)"
    ]


def test_what_a_system_adds_does_not_make_other_data_of_a_folder(tmp_path: Path) -> None:
    before = sha256(put(tmp_path, "cat/a.jpg", "dog/b.jpg"))
    put(tmp_path, *SYSTEM, "cat/.DS_Store", content=b"x")
    assert sha256(tmp_path) == before
    put(tmp_path, "cat/c", content=AVIF)
    assert sha256(tmp_path) != before


def test_zip_files_of_a_mac_and_of_windows(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        for name in ("photos/a.jpg", "photos/._a.jpg", "__MACOSX/photos/._a.jpg", "photos/",
                     "photos/__MACOSX/x", "photos\\Thumbs.db", "photos/.DS_Store",
                     "photos/desktop.ini", "photos/.hidden/b.jpg"):  # fmt: skip
            archive.writestr(name, PNG)
    with (tmp_path / "made.zip").open("rb") as file:
        assert unpack(file, "made.zip", tmp_path / "out", ZipLimits()) == 2
    there = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")
                   if p.is_file())  # fmt: skip
    assert there == ["photos/.hidden/b.jpg", "photos/a.jpg"]  # a row may name a hidden one


@pytest.mark.parametrize("ending", [".avif", ".png", ".webp", ".JPG", ".jpeg"])
def test_pictures_of_official_sets_in_another_format(tmp_path: Path, ending: str) -> None:
    put(tmp_path, f"train2014/COCO_train2014_000000000009{ending}", f"image3{ending}")
    name = picture_names(tmp_path)
    assert name(9, "train2014") == f"train2014/COCO_train2014_000000000009{ending}"
    assert name(10, "train2014") == "COCO_train2014_000000000010.jpg"
    text = tmp_path / "qa.txt"
    text.write_text("what is on the table in the image3 ?\ncup\n")
    ((_, row),) = daquar._rows(text, tmp_path)
    assert isinstance(row, dict) and row["image"] == f"image3{ending}"
