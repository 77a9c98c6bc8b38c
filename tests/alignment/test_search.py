"""An index of a folder: searched, brought up to date, never half written, refused when wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.cli.run import environment
from vqa.alignment import search
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.index import RECORD, FileStamp, PictureIndex
from vqa.alignment.search import index_folder, open_index, search_by_image, search_by_text
from vqa.data.picture_files import list_pictures
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.utils.files import lock


def test_a_picture_is_nearest_to_itself(photos: Path, tmp_path: Path, encoder: DualEncoder) -> None:
    done = index_folder(photos, tmp_path / "index", encoder)
    assert (done.added, done.unchanged, done.removed, done.broken) == (6, 0, 0, [])
    index = open_index(tmp_path / "index", encoder)
    for path in (photos / "red.png", photos / "more" / "yellow.png"):
        hits = search_by_image(index, encoder, load_image(path), 3)
        assert hits[0].image == path and abs(hits[0].similarity - 1) < 0.01
        values = [hit.similarity for hit in hits]
        assert len(hits) == 3 and values == sorted(values, reverse=True)


def test_a_text_finds_what_the_vectors_say(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    index_folder(photos, tmp_path / "index", encoder)
    hits = search_by_text(open_index(tmp_path / "index", encoder), encoder, "a red square", 99)
    paths = [hit.image for hit in hits]
    assert sorted(paths) == sorted(photos.rglob("*.png"))
    exact = (
        encoder.encode_images([load_image(path) for path in paths])
        @ encoder.encode_texts(["a red square"])[0]
    )
    assert np.allclose([hit.similarity for hit in hits], exact.numpy(), atol=0.01)


def test_only_what_changed_is_encoded_again(
    photos: Path, tmp_path: Path, encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_folder(photos, tmp_path / "index", encoder)
    Image.new("RGB", (9, 9), "purple").save(photos / "red.png")
    Image.new("RGB", (9, 9), "orange").save(photos / "orange.png")
    (photos / "blue.png").unlink()
    (photos / "green.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    loads: list[str] = []
    load = search.load_image
    monkeypatch.setattr(search, "load_image", lambda p: (loads.append(p.name), load(p))[1])
    done = index_folder(photos, tmp_path / "index", encoder)
    assert sorted(loads) == ["green.png", "orange.png", "red.png"]
    assert (done.added, done.unchanged, done.removed, len(done.broken)) == (2, 3, 1, 1)
    assert "green.png" in done.broken[0]
    index = open_index(tmp_path / "index", encoder)
    assert sorted(index.stamps()) == [
        "black.png", "more/yellow.png", "orange.png", "red.png", "white.png",
    ]  # fmt: skip
    hits = search_by_image(index, encoder, load_image(photos / "red.png"), 1)
    assert hits[0].image.name == "red.png"


def test_another_model_another_folder_and_no_index_are_refused(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    out = tmp_path / "index"
    index_folder(photos, out, encoder)
    path = out / RECORD
    path.write_text(path.read_text().replace(encoder.fingerprint, "0" * 32))
    for refused in (lambda: open_index(out, encoder), lambda: index_folder(photos, out, encoder)):
        with pytest.raises(InputError, match="was made by the model"):
            refused()
    path.write_text(path.read_text().replace("0" * 32, encoder.fingerprint))
    with lock(out), pytest.raises(InputError, match="brought up to date elsewhere"):
        index_folder(photos, out, encoder)
    with pytest.raises(InputError, match="is the index of"):
        index_folder(photos / "more", out, encoder)
    with pytest.raises(InputError, match="no such index"):
        PictureIndex.open(tmp_path / "nothing")
    with pytest.raises(InputError, match="is no index: `vqa"):
        PictureIndex.open(photos)
    with pytest.raises(InputError, match="is no index: name another"):
        index_folder(photos, photos / "more", encoder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures in it"):
        index_folder(tmp_path / "empty", out, encoder)


def test_a_damaged_index_never_reaches_the_library(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    out = tmp_path / "index"
    index_folder(photos, out, encoder)
    (vectors,) = out.glob("*.usearch")
    whole = vectors.read_bytes()
    for damaged in (whole[:-7], whole[:100] + b"\xff" + whole[101:], b""):
        vectors.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            PictureIndex.open(out)
    vectors.write_bytes(whole)
    record = json.loads((out / RECORD).read_text())
    record["vectors"] = f"../{out.name}/{vectors.name}"
    (out / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="damaged"):
        PictureIndex.open(out)


def test_a_folder_that_was_moved_keeps_its_index(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    index_folder(photos, tmp_path / "index", encoder)
    moved = photos.rename(tmp_path / "moved")
    done = index_folder(moved, tmp_path / "index", encoder)
    assert (done.added, done.unchanged) == (0, 6)
    index = open_index(tmp_path / "index", encoder)
    assert search_by_text(index, encoder, "red", 1)[0].image.is_file()


def test_all_of_many_are_looked_at(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = PictureIndex(tmp_path / "index", "m", "f", 16, tmp_path)
    names = [f"{number}.png" for number in range(500)]
    index.add(names, [FileStamp(1, 1)] * 500, vectors)
    index.remove(names[:100])
    index.save()
    index = PictureIndex.open(tmp_path / "index")
    for number in (100, 321, 499):
        best = np.argsort(-vectors[100:] @ vectors[number])[:5] + 100
        assert [hit.image.name for hit in index.nearest(vectors[number], 5)] == [
            f"{n}.png" for n in best
        ]


_INDEX = """
import sys
from pathlib import Path
from vqa.alignment import search
from vqa.alignment.loading import load
search._AT_ONCE, search._SAVE_EVERY = 1, 0
encoder = load(sys.argv[1], "cpu")
print("ready", flush=True)
search.index_folder(Path(sys.argv[2]), Path(sys.argv[3]), encoder)
"""


def test_killed_it_goes_on(tmp_path: Path, clip: Path, encoder: DualEncoder) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (20, 20), (number * 6, 0, 255 - number * 6)).save(folder / f"{number}.png")
    out = tmp_path / "index"
    command = [sys.executable, "-c", _INDEX, str(clip), str(folder), str(out)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
    while not (out / RECORD).exists() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = len(PictureIndex.open(out))  # whole after the kill
    done = index_folder(folder, out, encoder)
    assert saved > 0 and (done.unchanged, done.added) == (saved, 40 - saved)
    assert len(open_index(out, encoder)) == 40
    assert len(list(out.glob("*.usearch"))) <= 2 and not list(out.glob(".*.tmp"))
    assert os.path.exists(out / RECORD)


def test_photos_of_phones_are_found_and_hidden_ones_are_not(photos: Path) -> None:
    pillow_heif.register_heif_opener()
    Image.new("RGB", (32, 32), "red").save(photos / "phone.HEIC", format="HEIF")
    (photos / ".Trash").mkdir()
    for hidden in (photos / ".Trash" / "deleted.png", photos / ".thumb.png"):
        Image.new("RGB", (9, 9)).save(hidden)
    names = [path.name for path in list_pictures(photos).pictures]
    assert "phone.HEIC" in names and len(names) == 7
    assert [name for name in names if name in ("deleted.png", ".thumb.png")] == []


def test_a_first_save_that_failed_does_not_stand_in_the_way(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    out = tmp_path / "index"
    index_folder(photos, out, encoder)
    (out / RECORD).unlink()
    (out / ".index.json.1234.tmp").write_text("{")
    assert index_folder(photos, out, encoder).added == 6
    assert len(open_index(out, encoder)) == 6
    (out / RECORD).unlink()
    (out / "mine.txt").write_text("something of the user's")
    with pytest.raises(InputError, match="is no index: name another"):
        index_folder(photos, out, encoder)


def test_names_that_are_no_text_stay_as_they_are(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    for number, name in enumerate((b"\xe8.png", b"\xe9.png")):
        picture = Image.new("RGB", (20 + number, 20), "pink")
        picture.save(photos / "made.png")
        os.rename(photos / "made.png", os.fsencode(photos) + b"/" + name)
    out = tmp_path / "index"
    assert index_folder(photos, out, encoder).added == 8
    again = index_folder(photos, out, encoder)
    assert (again.added, again.unchanged, again.removed) == (0, 8, 0)
    assert all(
        hit.image.is_file() for hit in search_by_text(open_index(out, encoder), encoder, "red", 8)
    )
    with pytest.raises(InputError, match="is no text"):
        search_by_text(open_index(out, encoder), encoder, "caf\udce9")


def test_a_picture_whose_link_leads_nowhere_leaves_the_index(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    out = tmp_path / "index"
    index_folder(photos, out, encoder)
    (photos / "red.png").unlink()
    (photos / "red.png").symlink_to(photos / "nowhere")
    done = index_folder(photos, out, encoder)
    assert done.removed == 1 and "red.png: no such file" in done.broken[0]
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "a.png").symlink_to(alone / "nowhere")
    with pytest.raises(InputError, match="none of its pictures can be opened"):
        index_folder(alone, tmp_path / "other", encoder)


def test_an_index_whose_folder_is_away_is_not_emptied_for_another(
    photos: Path, tmp_path: Path, encoder: DualEncoder
) -> None:
    out = tmp_path / "index"
    index_folder(photos, out, encoder)
    photos.rename(tmp_path / "away")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "new.png")
    with pytest.raises(InputError, match="is the index of"):
        index_folder(tmp_path / "other", out, encoder)
    assert len(open_index(out, encoder)) == 6
