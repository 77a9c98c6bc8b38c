import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from training.mix.build import Mix, build, write
from training.mix.settings import MixSettings
from vqa.cli.data import data_app
from vqa.data import read
from vqa.errors import InputError
from vqa.utils.config import load_config

THINGS = ("Faces", "anchor", "camera", "cup", "fan", "laptop", "menorah", "umbrella")
ANIMALS = {"n02123045": "tabby cat", "n02099601": "golden retriever", "n02129165": "lion"}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some tiny sets in the layout that the readers expect."""
    root = tmp_path_factory.mktemp("sets")
    flickr = root / "flickr8k"
    captions, names = ["image,caption"], []
    for i in range(60):
        name = f"{i}.jpg"
        names.append(name)
        picture(flickr / "images" / name)
        dogs = "Two brown dogs" if i % 3 else "A brown dog"
        who = f"{dogs} running on the beach" if i % 2 else "A man in a red shirt rides a horse"
        captions += [f"{name},{who} ."] * 5
    (flickr / "captions.txt").write_text("\n".join(captions))
    (flickr / "train.txt").write_text("\n".join(names[:40]))
    (flickr / "dev.txt").write_text("\n".join(names[40:]))
    questions = []
    for i in range(1, 200, 3):
        picture(root / "daquar/images" / f"image{i}.jpg")
        questions += [f"what is on the table in the image{i} ?", "tissue_box"]
    (root / "daquar/qa_train.txt").write_text("\n".join(questions))
    shape = {"image": "train/1.png", "question": "what shape is it?", "answer": "circle"}
    picture(root / "easy_vqa/train/1.png")
    (root / "easy_vqa/train.jsonl").write_text(json.dumps(shape) + "\n")
    for folder in ANIMALS:
        for i in range(20):
            picture(root / "tinyimagenet/images" / folder / f"{folder}_{i}.jpg")
    for folder in THINGS:
        for i in range(8):
            picture(root / "caltech101" / folder / f"image_{i:04}.jpg")
    words = "\n".join(f"{folder}\t{name}" for folder, name in ANIMALS.items())
    (root / "tinyimagenet/words.txt").write_text(words)
    return root


@pytest.fixture(scope="module")
def settings(root: Path) -> MixSettings:
    sets = {
        "flickr8k": {
            "rows": {
                "captions": 2,
                "presence": 2,
                "colors": 1,
                "counts": 1,
                "indoors": 1,
                "refusals": 1,
            },
            "check": {"captions": 100, "presence": 100, "counts": 50},
        },
        "easy_vqa": {"rows": {"questions": 9}},
        "daquar": {"rows": {"questions": 9}, "check": {"questions": 50}, "validation": 0.3},
        "tinyimagenet": {"rows": {"names": 2, "presence": 1}, "check": {"names": 20}},
        "caltech101": {"rows": {"names": 1}, "single": True},
    }
    return MixSettings.model_validate(
        {"data_root": root, "sets": sets, "chat": 2, "composed": 12, "nobody": 5}
    )


@pytest.fixture(scope="module")
def mix(settings: MixSettings) -> Mix:
    return build(settings)


def test_no_picture_is_on_both_sides(mix: Mix) -> None:
    train = {row["image"] for row in mix.train if "image" in row}
    held_out = {row["image"] for rows in mix.validation.values() for row in rows}
    assert train and held_out and not train & held_out
    rooms = [
        {int(Path(name).stem.removeprefix("image")) // 10 for name in side if "daquar" in name}
        for side in (train, held_out)
    ]
    assert rooms[0] and rooms[1] and not rooms[0] & rooms[1]


def test_every_row_says_task_and_source(mix: Mix) -> None:
    tasks = defaultdict(set)
    for row in mix.train:
        tasks[row["source"]].add(row["task"])
        if row["source"] == "chat":
            assert not row["images"] and row["answers"][0]
            continue
        assert row["image"].startswith(f"{row['source']}/")
    assert tasks["flickr8k"] == {
        "captions", "presence", "colors", "counts", "indoors", "refusals",
    }  # fmt: skip
    assert tasks["daquar"] == {"questions"}
    assert tasks["chat"] == {"chat"}
    assert set(mix.validation) == {"captions", "presence", "counts", "daquar", "names"}
    ids = [row["id"] for row in mix.train] + [
        row["id"] for rows in mix.validation.values() for row in rows
    ]
    assert len(ids) == len(set(ids))


def test_presence_is_balanced_for_every_object_and_source(mix: Mix) -> None:
    rows = [row for row in mix.train if row["task"] == "presence"]
    for sources in ({"flickr8k"}, {"tinyimagenet", "caltech101"}):  # people are in the latter
        answers = Counter(row["answers"][-1] for row in rows if row["source"] in sources)
        assert answers["yes"] == answers["no"] > 0
    asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in mix.validation["presence"]:
        asked[row["question"]][row["answers"][0]] += 1
    assert all(counts["yes"] == counts["no"] for counts in asked.values())


def test_rows_of_a_picture_are_together(mix: Mix) -> None:
    order = [row["image"] for row in mix.train if "image" in row]
    changes = sum(a != b for a, b in pairwise(order))
    assert changes == len(set(order)) - 1


def test_the_official_dev_captions_have_all_references(mix: Mix) -> None:
    rows = mix.validation["captions"]
    assert len(rows) == 20
    assert all(len(row["answers"]) == 5 for row in rows)


def test_same_seed_same_mix_other_seed_other_mix(settings: MixSettings, mix: Mix) -> None:
    assert build(settings) == mix
    other = build(settings.model_copy(update={"seed": 1}))
    assert other.train != mix.train
    # the split does not depend on the seed
    assert {r["image"] for r in other.validation["daquar"]} == {
        r["image"] for r in mix.validation["daquar"]
    }


def test_written_rows_can_be_read(mix: Mix, root: Path, tmp_path: Path) -> None:
    write(mix, tmp_path)
    examples = list(read(tmp_path / "train.jsonl"))
    assert len(examples) == len(mix.train)
    assert all(Path(image).is_file() for example in examples for image in example.images)
    assert examples[0].extra == {"task": mix.train[0]["task"], "source": mix.train[0]["source"]}


def test_composed_pictures_are_drawn_and_counted_in(mix: Mix, tmp_path: Path) -> None:
    write(mix, tmp_path)
    rows = [row for row in mix.train if row["source"] == "composed"]
    assert {row["task"] for row in rows} == {"counts", "presence"}
    for row in rows:
        with Image.open(tmp_path / row["image"]) as drawn:
            assert drawn.size == (320, 320)


def test_pictures_of_another_mix_are_drawn_anew(
    settings: MixSettings, mix: Mix, tmp_path: Path
) -> None:
    write(mix, tmp_path / "one")
    write(build(settings.model_copy(update={"seed": 1})), tmp_path / "two")
    write(mix, tmp_path / "two")
    for name in mix.scenes:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_people_are_looked_for_where_there_are_none(mix: Mix) -> None:
    rows = [row for row in mix.train if row["source"] == "tinyimagenet"]
    words = ("person", "people", "human")
    about = [row for row in rows if any(word in row["question"] for word in words)]
    assert about and all(row["answers"][-1] == "no" for row in about)
    faces = [
        row for row in mix.train if row["source"] == "caltech101" and row["task"] == "presence"
    ]
    assert len(faces) == len(about) and all(row["answers"][-1] == "yes" for row in faces)


def test_a_missing_set_is_named(settings: MixSettings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="flickr8k is missing"):
        build(settings.model_copy(update={"data_root": tmp_path}))


def test_the_shipped_config_is_valid() -> None:
    settings = load_config(MixSettings, "mix")
    assert len(settings.sets) == 17
    with pytest.raises(InputError, match=r"did you mean sets\.voc\.check"):
        load_config(MixSettings, "mix", ["sets.voc.chek.names=3"])


def test_without_data_the_command_says_where_sets_come_from() -> None:
    result = CliRunner().invoke(data_app, ["build", "mix"])
    assert isinstance(result.exception, InputError)
    lines = result.stderr.splitlines()
    assert len(lines) == 17
    assert all(name in result.stderr for name in ("DAQUAR", "Caltech-101", "cocodataset.org"))


def test_the_command_builds(root: Path, settings: MixSettings, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json", exclude={"data_root", "out"})))
    out = tmp_path / "out"
    result = CliRunner().invoke(
        data_app, ["build", str(config), f"data_root={root}", f"out={out}"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert (out / "train.jsonl").is_file() and (out / "val/daquar.jsonl").is_file()
    assert "rows about" in result.stdout
    examples = list(read(out / "train.jsonl"))  # with its pictures beside it
    assert {row.extra["source"] for row in examples} == {*settings.sets, "chat", "composed"}
    assert all(Path(image).is_file() for row in examples for image in row.images)


def test_pictures_with_text_are_a_set_of_their_own(
    settings: MixSettings, mix: Mix, tmp_path: Path
) -> None:
    with_text = settings.model_copy(update={"text": 6, "out": tmp_path})
    more = build(with_text)
    write(more, tmp_path)
    text = [row for row in more.train if row["source"] == "text"]
    # no other row is changed, so that weights trained without it can be compared
    assert [row for row in more.train if row["source"] != "text"] == mix.train
    assert text and more.validation["text"] and {**more.validation, "text": []} == {
        **mix.validation, "text": [],
    }  # fmt: skip
    examples = list(read(tmp_path / "train.jsonl"))
    assert {row.extra["source"] for row in examples} >= {"text", "flickr8k"}
    examples += read(tmp_path / "val" / "text.jsonl", tmp_path)
    assert all(Path(image).is_file() for row in examples for image in row.images)
    assert all("kind" in row.extra for row in examples if row.extra["source"] == "text")
    with pytest.raises(InputError, match="out=DIR is missing"):
        build(with_text.model_copy(update={"out": None}))
