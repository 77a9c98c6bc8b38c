"""Pictures that stand in the cells of a table, as a data: URL or as base64 alone."""

from __future__ import annotations

import base64
import csv
import io
import random
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.data.written import bad_of, lines, put
from vqa.data import read


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


def picture(form: str = "PNG", size: int = 300) -> bytes:
    """Make a picture of noise, which no format compresses."""
    noise = random.Random(0).randbytes(3 * size * size)
    file = io.BytesIO()
    Image.frombytes("RGB", (size, size), noise).save(file, form)
    return file.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("start", ["data:image/png;base64,", ""])
@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_picture_in_a_cell(tmp_path: Path, mark: str, start: str) -> None:
    data = picture()
    with (tmp_path / "data.txt").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerow(["index", "image", "question", "A", "B", "answer"])
        writer.writerow([1, start + encoded(data), "What\nis it?", "cat", "dog", "B"])
        writer.writerow([2, start + encoded(data), "And now?", "cat", "dog", "A"])
    rows = list(read(tmp_path / "data.txt"))
    assert [row.answers for row in rows] == [("dog",), ("cat",)]
    assert [Path(row.images[0]).read_bytes() for row in rows] == [data] * 2
    names = list(read(tmp_path / "data.txt", need_images=False))
    assert [row.images for row in names] == [(str(row.images[0]),) for row in rows]


def test_a_picture_by_the_index_of_an_earlier_row(tmp_path: Path) -> None:
    """As MMBench's tables repeat a picture; a number that is no such index stays a path."""
    one, two = picture(), picture("JPEG")
    images = [encoded(one), "7", encoded(two), "1000008", " 7", "9", "3.jpg"]
    rows = [
        f"{index}\t{image}\tWhat?\tcat\tdog\tB\n"
        for index, image in zip([7, 1000007, 1000008, 8, 2, 3, 4], images, strict=True)
    ]
    put(tmp_path, "", "3.jpg")
    path = put(tmp_path, "index\timage\tquestion\tA\tB\tanswer\n" + "".join(rows))
    good = list(read(path))
    assert [Path(row.images[0]).read_bytes() for row in good[:5]] == [one, one, two, two, one]
    assert [row.images[0] for row in good[5:]] == [tmp_path / "9", tmp_path / "3.jpg"]
    names = list(read(path, need_images=False))
    assert [row.images[0] for row in names[:5]] == [str(row.images[0]) for row in good[:5]]


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    "kind", [int, float]
)  # pandas makes floats of numbers where one is missing
def test_such_an_index_as_pandas_writes_it(tmp_path: Path, ending: str, kind: type) -> None:
    image = encoded(picture("JPEG", 40))
    table = pd.DataFrame({"index": [241, 1000241], "image": [image, "241"],
                          "question": "What?", "answer": "x"})  # fmt: skip
    table["index"] = table["index"].astype(kind)
    path = tmp_path / f"data.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",", lineterminator="\r\n")
    one, two = read(path)
    assert one.images == two.images


def test_an_index_without_pictures_in_cells_stays_a_path(tmp_path: Path) -> None:
    put(tmp_path, "", "1")
    rows = [{"index": n, "image": "1", "question": "What?", "answer": "x"} for n in (1, 2)]
    assert [row.images[0] for row in read(put(tmp_path, lines(*rows)))] == [tmp_path / "1"] * 2


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WebP", "BMP"])
def test_base64_alone(tmp_path: Path, form: str) -> None:
    data = picture(form, 20)
    row = {"image": encoded(data), "question": "What?", "answer": "noise"}
    rows = [row, row | {"image": [encoded(data), f"{encoded(data)}\n"]}]
    one, two = read(put(tmp_path, lines(*rows)))
    assert [Path(image).read_bytes() for image in one.images + two.images] == [data] * 3


@pytest.mark.parametrize(
    "name",
    [
        "iVBORw0KGgo.png",
        "Qk0" + "a" * 150 + ".bmp",
        "UklGR" + "a" * 151,  # base64, but of no picture
        "iVBORw0KGgo" + "a" * 100,  # of a length that base64 has not
    ],
)
def test_a_path_that_begins_so_stays_one(tmp_path: Path, name: str) -> None:
    put(tmp_path, "", name)
    (row,) = read(put(tmp_path, lines({"image": name, "question": "What?", "answer": "x"})))
    assert row.images == (tmp_path / name,)


def test_quotes_that_are_not_closed_lose_no_rows(tmp_path: Path) -> None:
    """Though a cell may be as long as a picture: every 20,000 lines, up to the ends of others."""
    rows = []
    for number in range(60_000):
        quote = '"' if number % 20_000 == 100 else ""
        rows.append(f"a.png,{quote}What is there at number {number}?,{number}\n")
    table = put(tmp_path, "image,question,answer\n" + "".join(rows))
    good, bad = bad_of(table)
    assert [row.line for row in bad] == [102, 20_102, 40_102]
    assert all("is a quote not closed?" in row.reason for row in bad)
    assert len(good) == 60_000 - 3


def test_many_lines_of_pictures_behind_a_quote(tmp_path: Path) -> None:
    long = encoded(picture())
    rows = [f"{long},What?,{number}\n" for number in range(12)]
    rows[2] = f'{long},"What?,2\n'
    good, bad = bad_of(put(tmp_path, "image,question,answer\n" + "".join(rows)))
    assert [row.line for row in bad] == [4] and len(good) == 11
