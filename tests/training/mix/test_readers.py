import json
from pathlib import Path

import pytest

from training.mix.picture import Label, MarkedObject
from training.mix.readers import class_folders, coco, daquar, picture_lists
from vqa.data.formats.daquar import natural_answer, natural_question
from vqa.errors import InputError


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_caption_csv(tmp_path: Path) -> None:
    captions = put(
        tmp_path / "captions.txt",
        'image,caption\na.jpg,A dog runs .\nb.jpg,"Two men , one hat ."\n'
        "a.jpg,A brown dog .\nc.jpg,X\n",
    )
    splits = {
        "train": put(tmp_path / "train.txt", "a.jpg\n"),
        "dev": put(tmp_path / "dev.txt", "b.jpg\n"),
    }
    pictures = list(picture_lists.read_captions(captions, tmp_path / "images", splits, "mine"))
    assert [(p.path.name, p.official_split, p.source) for p in pictures] == [
        ("a.jpg", "train", "mine"),
        ("b.jpg", "dev", "mine"),
    ]
    assert pictures[0].captions == ("A dog runs .", "A brown dog .")
    assert pictures[1].captions == ("Two men , one hat .",)
    assert len(list(picture_lists.read_captions(captions, tmp_path))) == 3  # without lists, all


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a.jpg,A dog\n", ":1:"),
        ("image,caption\na.jpg\n", ":2:"),
        ("image,caption\n../a.jpg,A\n", ""),
    ],
)
def test_caption_csv_refuses(tmp_path: Path, text: str, where: str) -> None:
    captions = put(tmp_path / "captions.txt", text)
    with pytest.raises(InputError, match=f"captions.txt{where}"):
        list(picture_lists.read_captions(captions, tmp_path))


def test_daquar(tmp_path: Path) -> None:
    text = (
        "what is on the table in the image3 ?\nbook, tape_dispenser\n"
        "how many chairs are there in the image12 ?\n4\n"
        "what is left of the table in this image3 ?\ngarbage_bin\n"
    )
    pictures = list(daquar.read(put(tmp_path / "qa.txt", text), tmp_path))
    assert [p.path.name for p in pictures] == ["image3.jpg", "image12.jpg"]
    assert len(pictures[0].questions) == 2
    assert pictures[0].group != pictures[1].group
    question, answer = pictures[0].questions[0]
    assert natural_question(question) == "What is on the table?"
    assert natural_answer(answer) == "book, tape dispenser"


@pytest.mark.parametrize(
    ("raw", "natural"),
    [
        ("what is left of the table in this image3 ?", "What is left of the table?"),
        ("how many chairs are there on the image888 ?", "How many chairs are there?"),
        (
            "what is on the right side of the image1375 ?",
            "What is on the right side of the image?",
        ),
        ("what is behind the tape_dispenser in the image3 ?", "What is behind the tape dispenser?"),
    ],
)
def test_daquar_questions_become_natural(raw: str, natural: str) -> None:
    assert natural_question(raw) == natural


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("what is this in the image3 ?\n", "must alternate"),
        ("what is this ?\ncat\n", ":1: no picture"),
        ("what is this in the image3 ?\n\nwhat in image4 ?\nx\n", ":1: no answer"),
    ],
)
def test_daquar_refuses(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        list(daquar.read(put(tmp_path / "qa.txt", text), tmp_path))


def test_coco(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}]
    boxes = [
        {"image_id": 1, "category_id": 5, "bbox": [0, 0, 50, 25], "iscrowd": 0},
        {"image_id": 1, "category_id": 6, "bbox": [0, 0, 10, 10], "iscrowd": 1},
    ]
    names = [{"id": 5, "name": "dog"}, {"id": 6, "name": "person"}, {"id": 7, "name": "car"}]
    instances = {"images": images, "annotations": boxes, "categories": names}
    captions = {"images": images, "annotations": [{"image_id": 1, "caption": "A dog. "}]}
    (picture,) = coco.read(
        tmp_path,
        put(tmp_path / "instances.json", json.dumps(instances)),
        put(tmp_path / "captions.json", json.dumps(captions)),
    )
    assert picture.path == tmp_path / "a.jpg"
    assert picture.boxes == (MarkedObject("dog", 0.25), MarkedObject("person", 0.02, crowd=True))
    assert picture.annotated == {"dog", "person", "car"}
    assert picture.captions == ("A dog.",)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"images": [{}]}'])
def test_coco_refuses(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "instances.json", text)
    with pytest.raises(InputError, match=r"instances\.json"):
        list(coco.read(tmp_path, path))


def test_scene_list(tmp_path: Path) -> None:
    (picture,) = picture_lists.read_scenes(
        put(tmp_path / "scenes.txt", "ADE_1 abbey\n\n"), tmp_path
    )
    assert (picture.path, picture.scene) == (tmp_path / "ADE_1.jpg", "abbey")
    with pytest.raises(InputError, match=r"scenes\.txt:1"):
        list(picture_lists.read_scenes(put(tmp_path / "scenes.txt", "ADE_1\n"), tmp_path))


def test_path_list(tmp_path: Path) -> None:
    classes = put(
        tmp_path / "classes.csv", "Fine,ID,Coarse,ID\nRoyal-Gala,4,Apple,0\nPear,5,Pear,1\n"
    )
    paths = put(tmp_path / "train.txt", "Fruit/a.jpg, 4, 0\n")

    def label(path: str, fine: str, coarse: str) -> Label:
        return Label(fine, coarse)

    (picture,) = picture_lists.read_paths(paths, classes, tmp_path, label)
    assert (picture.path, picture.label) == (tmp_path / "Fruit/a.jpg", Label("Royal-Gala", "Apple"))
    with pytest.raises(InputError, match=r"train\.txt:1"):
        list(picture_lists.read_paths(put(paths, "a.jpg, 9, 0\n"), classes, tmp_path, label))


def test_class_folders(tmp_path: Path) -> None:
    for name in (
        "Faces/image_1.jpg",
        "Faces_easy/image_1.jpg",
        "sea_horse/a.png",
        "sea_horse/b.txt",
    ):
        put(tmp_path / name)
    put(tmp_path / "BACKGROUND_Google/image_1.jpg")
    face = Label("face", "face", "person")
    pictures = list(class_folders.read(tmp_path, {"Faces": face, "Faces_easy": face}))
    assert [p.label.name for p in pictures if p.label] == ["face", "face", "sea horse"]
    assert pictures[0].group == pictures[1].group != pictures[2].group
    with pytest.raises(InputError, match="no folders"):
        list(class_folders.read(tmp_path / "Faces"))


def test_name_table(tmp_path: Path) -> None:
    table = class_folders.name_table(put(tmp_path / "words.txt", "n1\ttabby, tabby cat\nn2\tfly\n"))
    assert table == {"n1": ("tabby", "tabby cat"), "n2": ("fly",)}
    with pytest.raises(InputError, match=r"words\.txt:1"):
        class_folders.name_table(put(tmp_path / "words.txt", "n1 tabby\n"))
