"""The one list of formats of pictures: what begins so is read, and is called so everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inputs.pictures import FORMATS, encoded, picture
from vqa.chat.export import as_json
from vqa.chat.turn import StoredPicture, Turn
from vqa.data.embedded_pictures import picture_path
from vqa.inputs import signatures
from vqa.inputs.images import load_image


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_known_by_its_beginning(file_format: str, tmp_path: Path) -> None:
    data = encoded(picture(), file_format)
    known = signatures.detect_format(data[: signatures.HEAD_BYTES])
    assert known is not None
    mime = "image/heic" if file_format == "HEIF" else f"image/{file_format.lower()}"
    assert known.mime == mime
    assert picture_path(data).suffix == known.endings[0]
    assert set(known.endings) <= signatures.SUFFIXES
    path = tmp_path / "picture"
    path.write_bytes(data)
    turn = Turn("1", "1", None, "user", "What?", pictures=(StoredPicture("picture", path),))
    assert f'"data:{mime};base64,' in as_json([turn])


@pytest.mark.parametrize("size", [(1, 1), (64, 32), (300, 7)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_every_bmp_is_known(mode: str, size: tuple[int, int]) -> None:
    assert load_image(encoded(picture(*size).convert(mode), "BMP")).size == size


def test_text_that_begins_as_a_bmp_is_text() -> None:
    assert signatures.detect_format(b"BMW makes cars, and this is a text about them.") is None
