"""Names of pictures whose letters with marks are written in another way than those on the disk."""

from __future__ import annotations

import csv
import unicodedata
import zipfile
from pathlib import Path

import pytest

from tests.inputs.pictures import encoded, picture
from vqa.batches.unpack import ZipLimits, unpack
from vqa.data import read
from vqa.data.picture_paths import picture_names, under

PNG = encoded(picture(), "PNG")
FORMS = [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")]


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_a_table_names_pictures_of_a_zip_file_in_another_form(
    tmp_path: Path, here: str, there: str
) -> None:
    names = ["Müller.png", "Fotos/Ångström/é 1.png", "plain.png"]
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        for name in names:
            archive.writestr(unicodedata.normalize(there, name), PNG)
    limits = ZipLimits(files=20, size=1_000_000, ratio=50, free=0)
    with (tmp_path / "mac.zip").open("rb") as file:
        unpack(file, "The zip", tmp_path / "pictures", limits)
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "question", "answer"))
        table.writerows((unicodedata.normalize(here, name), "What?", "x") for name in names)
    examples = list(read(tmp_path / "rows.csv", tmp_path / "pictures"))
    assert [example.images[0].is_file() for example in examples] == [True] * 3


def test_folders_and_files_may_be_written_in_different_forms(tmp_path: Path) -> None:
    folder, name = unicodedata.normalize("NFC", "Übung"), unicodedata.normalize("NFD", "Müller.png")
    path = put(tmp_path / folder / name)
    for form in ("NFC", "NFD"):
        given = unicodedata.normalize(form, f"{folder}/{name}")
        assert under(tmp_path)(given) == path
        assert under(tmp_path)(given.replace("/", "\\")) == path


def test_a_name_that_is_there_is_that_picture(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        path = put(tmp_path / unicodedata.normalize(form, "Müller.png"))
        assert under(tmp_path)(path.name) == path
    assert under(tmp_path)("Möller.png") == tmp_path / "Möller.png"  # who opens it says so


def test_what_is_outside_stays_refused_in_every_form(tmp_path: Path) -> None:
    root = tmp_path / "root"
    inside = put(root / "x.png").parent
    outside = put(
        tmp_path / unicodedata.normalize("NFD", "Müller") / unicodedata.normalize("NFC", "é.png")
    )
    (inside / unicodedata.normalize("NFD", "löchrig")).symlink_to(outside.parent)
    (inside / unicodedata.normalize("NFD", "é.png")).symlink_to(outside)
    for name in (
        "../Müller/é.png", "löchrig/é.png", "é.png", f"{tmp_path}/Müller/é.png",
        f"file://{tmp_path}/Müller/é.png", "löchrig/../Müller",
    ):  # fmt: skip
        given = unicodedata.normalize("NFC", name)
        with pytest.raises(ValueError, match="outside"):
            under(inside)(given)


def test_the_id_of_a_picture_in_another_form(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Müller.png")
    put(tmp_path / name)
    whole, stem = (unicodedata.normalize("NFC", text) for text in (name, "Müller"))
    name_of = picture_names(tmp_path)
    assert name_of(whole, "") == name_of(stem, "") == name
    assert name_of("Möller", "") == "Möller.jpg"


def test_the_name_of_a_class_is_an_answer_as_keyboards_write_it(tmp_path: Path) -> None:
    path = put(tmp_path / unicodedata.normalize("NFD", "café_noir") / "a.png")
    (example,) = read(tmp_path)
    assert example.answers == (unicodedata.normalize("NFC", "café noir"),)
    assert example.images == (path,)
