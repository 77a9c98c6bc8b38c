"""Each named task on rows in its data set's columns: what is asked, and how answers are scored."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vqa.data import read
from vqa.evaluation.benchmark_rows import chance_of, write_rows
from vqa.evaluation.benchmark_tasks import Task, load_task, task_names
from vqa.evaluation.scoring import metric_items

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def picture(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 5), color).save(file, "PNG")
    return file.getvalue()


EMBEDDED = {"bytes": picture(), "path": None}
# of each data set of the hub: its columns, then what is asked, what is right and what is not
HUB: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "vqav2": (
        {
            "question_type": "what color", "multiple_choice_answer": "red",
            "answers": [{"answer": "red", "answer_confidence": "yes", "answer_id": n}
                        for n in range(1, 11)],
            "image_id": 42, "answer_type": "other", "question_id": 42001,
            "question": "What color is it?", "image": EMBEDDED,
        },
        f"What color is it?\n{SHORT}", "Red.", "blue",
    ),
    "okvqa": (
        {
            "question_id": "2971475", "image": EMBEDDED, "question": "What sport is this?",
            "answers": ["race"] * 6 + ["motocross"] * 4, "question_type": "one",
            "answer_type": "other",
        },
        f"What sport is this?\n{SHORT}", "race", "golf",
    ),
    "vizwiz": (
        {
            "question_id": "VizWiz_val_00000000.jpg", "image": EMBEDDED, "question": "What is it?",
            "answers": ["unanswerable"] * 10, "category": "unanswerable",
        },
        "What is it?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
        f"{SHORT}", "Unanswerable", "a can",
    ),
    "textvqa": (
        {
            "image_id": "003a8ae2ef43b901", "question_id": 34602, "question": "what brand is it?",
            "question_tokens": ["what", "brand", "is", "it"], "image": EMBEDDED, "image_width": 6,
            "image_height": 5, "flickr_original_url": "https://a.b/c.jpg",
            "flickr_300k_url": "https://a.b/c.jpg", "answers": ["dakota"] * 10,
            "image_classes": ["Camera"], "set_name": "val", "ocr_tokens": ["DAKOTA"],
        },
        f"what brand is it?\n{SHORT}", "Dakota", "canon",
    ),
    "pope": (
        {
            "id": "0", "question_id": "1", "question": "Is there a snowboard in the image?",
            "answer": "yes", "image_source": "COCO_val2014_000000310196", "image": EMBEDDED,
            "category": "adversarial",
        },
        f"Is there a snowboard in the image?\n{SHORT}", "Yes", "No",
    ),
    "docvqa": (
        {
            "questionId": "49153", "question": "What is the value?", "question_types": ["figure"],
            "image": EMBEDDED, "docId": 14465, "ucsf_document_id": "pybv0228",
            "ucsf_document_page_no": "81", "answers": ["0.28", ".28"], "data_split": "val",
        },
        f"What is the value?\n{SHORT}", "0.28", "many",
    ),
    "chartqa": (
        {"type": "human_test", "question": "How many?", "answer": "14", "image": EMBEDDED},
        f"How many?\n{SHORT}", "14.5", "15",
    ),
    "ai2d": (
        {
            "question": "which of these define dairy item",
            "options": ["c", "D", "b", "a"], "answer": "1", "image": EMBEDDED,
        },
        f"which of these define dairy item\nA. c\nB. D\nC. b\nD. a\n{LETTER}", "B", "A",
    ),
    "scienceqa": (
        {
            "image": EMBEDDED, "question": "Which is in the water?", "choices": ["fish", "bird"],
            "answer": 0, "hint": "Look.", "task": "closed choice", "grade": "grade2",
            "subject": "natural science", "topic": "biology", "category": "Animals",
            "skill": "Find", "lecture": "", "solution": "A fish.",
        },
        f"Context: Look.\nWhich is in the water?\nA. fish\nB. bird\n{LETTER}", "A", "B",
    ),
    "coco_caption": (
        {
            "question_id": "COCO_val2014_000000203564.jpg", "image": EMBEDDED,
            "question": "Please carefully observe the image and come up with a caption.",
            "answer": ["A bicycle with a clock as the front wheel.", "A bike with a clock."],
            "id": 203564, "license": 4, "file_name": "COCO_val2014_000000203564.jpg",
            "coco_url": "https://a.b/c.jpg", "height": 5, "width": 6, "date_captured": "2013",
        },
        "Provide a one-sentence caption for the provided image.", "A bike with a clock.", "a dog",
    ),
    "aokvqa": (
        {
            "image": EMBEDDED, "question_id": "22jbM6gDxdaMaunuzgrsBB",
            "question": "What is in the motorcyclist's mouth?",
            "choices": ["toothpick", "food", "popsicle stick", "cigarette"],
            "correct_choice_idx": 3, "direct_answers": "['cigarette', 'cigarette', 'toothpick']",
            "difficult_direct_answer": False, "rationales": ["He's smoking while riding."],
        },
        "What is in the motorcyclist's mouth?\nA. toothpick\nB. food\nC. popsicle stick\n"
        f"D. cigarette\n{LETTER}", "D", "A",
    ),
    "mme": (
        {
            "question_id": "code_reasoning/0020.png", "image": EMBEDDED, "answer": "Yes",
            "question": "Is a python code shown in the picture? Please answer yes or no.",
            "category": "code_reasoning",
        },
        "Is a python code shown in the picture? Please answer yes or no.", "yes, it is", "No",
    ),
    "mmbench": (
        {
            "index": 241, "question": "Which one is the correct caption of this image?",
            "hint": "nan", "answer": "B", "A": "A man rides a surfboard.", "B": "A red square.",
            "C": "nan", "D": "nan", "category": "image_topic", "image": EMBEDDED,
            "source": "MMBench", "L2-category": "coarse_perception", "comment": "nan",
            "split": "dev",
        },
        "Which one is the correct caption of this image?\nA. A man rides a surfboard.\n"
        f"B. A red square.\n{LETTER}", "B", "A",
    ),
    "seedbench": (
        {
            "answer": "A", "choice_a": "One", "choice_b": "Two", "choice_c": "Three",
            "choice_d": "Four", "data_id": "1454426_2591111986", "data_type": "image",
            "question": "How many towels are in the image?", "question_id": "101669",
            "question_type_id": 5, "image": [EMBEDDED], "segment": None,
        },
        f"How many towels are in the image?\nA. One\nB. Two\nC. Three\nD. Four\n{LETTER}",
        "A.", "B",
    ),
    "mmmu": (
        {
            "id": "validation_Accounting_1", "question": "<image 1> What is it with <image 2>?",
            "options": "['$6', '$7', '<image 3>', '$9']", "explanation": "",
            "image_1": EMBEDDED, "image_2": {"bytes": picture("green"), "path": None},
            "image_3": EMBEDDED, "image_4": None, "image_5": None, "image_6": None,
            "image_7": None, "img_type": "['Tables']", "answer": "B", "topic_difficulty": "Medium",
            "question_type": "multiple-choice", "subfield": "Managerial Accounting",
        },
        "<image 1> What is it with <image 2>?\nA. $6\nB. $7\nC. <image 3>\nD. $9\n\n"
        f"{LETTER}", "The answer is (B).", "C",
    ),
    "infovqa": (
        {
            "questionId": "98313", "question": "Which is the least used?", "answers": ["linkedin"],
            "answer_type": ["single span"], "image": EMBEDDED, "image_url": "https://a.b/c.png",
            "operation/reasoning": ["none"], "ocr": "['{\"BlockType\": \"PAGE\"}']",
            "data_split": "val",
        },
        f"Which is the least used?\n{SHORT}", "LinkedIn", "facebook",
    ),
    "nocaps": (
        {
            "image": EMBEDDED, "image_coco_url": "https://a.b/0013ea2087020901.jpg",
            "image_date_captured": "2018-11-06 11:04:33", "image_height": 5, "image_width": 6,
            "image_file_name": "0013ea2087020901.jpg", "image_id": 0, "image_license": 0,
            "image_open_images_id": "0013ea2087020901", "annotations_ids": [0, 1],
            "annotations_captions": ["A baby is standing in front of a house.", "A baby."],
        },
        "Provide a one-sentence caption for the provided image.",
        "A baby is standing in front of a house.", "two men",
    ),
    "flickr30k": (
        {
            "image": EMBEDDED, "caption": ["Two men are outside near bushes.", "Two friends."],
            "sentids": ["0", "1"], "img_id": "0", "filename": "1000092795.jpg",
        },
        "Provide a one-sentence caption for the provided image.",
        "Two men are outside near bushes.", "dogs run",
    ),
}  # fmt: skip
CAPTIONS = {"coco_caption": "answer", "nocaps": "annotations_captions", "flickr30k": "caption"}


def scores(task: Task, rows: list[Any], predictions: list[str]) -> list[float]:
    values = task.scored_by().rows(metric_items(rows, predictions))
    return [float(value) for value in values]


@pytest.mark.parametrize("name", HUB)
def test_a_data_set_of_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, prompt, right, wrong = HUB[name]
    blue = {"bytes": picture("blue"), "path": None}
    column = "image_1" if name == "mmmu" else "image"
    second = row | {column: [blue] if isinstance(row[column], list) else blue}
    if name in CAPTIONS:  # words that all pictures' captions have count nothing
        second |= {CAPTIONS[name]: ["A cow beside the sea."]}
    if name == "mmbench":
        second |= {"hint": "Look."}
    for key in ("question_id", "questionId", "id"):
        if key in row:
            second[key] = type(row[key])(9)
    pq.write_table(pa.Table.from_pylist([row, second]), tmp_path / "data.parquet")
    task = load_task(name)
    made = write_rows(task, tmp_path / "out" / "rows.jsonl", tmp_path / "data.parquet")
    rows = list(read(made.path, made.images))
    hint = "Look.\n" if name == "mmbench" else ""
    assert [example.question for example in rows] == [prompt, hint + prompt]
    pictures = [Path(example.images[0]).read_bytes() for example in rows]
    assert pictures == [picture("red"), picture("blue")]
    assert {len(example.images) for example in rows} == {3 if name == "mmmu" else 1}
    good, bad = scores(task, rows, [right, wrong])
    assert good > bad == 0
    before = made.path.read_bytes()

    def of_hub(dataset: str, *, name: str | None, split: str, **_: Any) -> datasets.Dataset:
        asked.append(":".join(filter(None, (dataset, name, split))))
        return datasets.Dataset.from_parquet(str(tmp_path / "data.parquet"))

    asked: list[str] = []
    monkeypatch.setattr(datasets, "load_dataset", of_hub)
    write_rows(task, made.path)
    assert made.path.read_bytes() == before and set(asked) == {task.data}
    guesses = dict.fromkeys(("ai2d", "aokvqa", "seedbench", "mmmu"), 0.25)
    guesses |= {"scienceqa": 0.5, "pope": 0.5, "mme": 0.5, "mmbench": 0.25}  # of two rows
    assert chance_of(task, rows) == guesses.get(name)
    if task.by:
        assert all(isinstance(example.extra[task.by], str) for example in rows)


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(picture())
    return folder


def pope(folder: Path) -> tuple[Path, Path]:
    for kind in ("random", "popular", "adversarial"):
        rows = [
            {"question_id": n, "image": "COCO_val2014_000000310196.jpg",
             "text": f"Is there a {thing} in the image?", "label": label}
            for n, (thing, label) in enumerate((("snowboard", "yes"), (kind, "no")), start=1)
        ]  # fmt: skip
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        put(folder / "coco" / f"coco_pope_{kind}.json", lines)
    return folder / "coco", images(folder / "val2014", "COCO_val2014_000000310196.jpg")


def vqav2(folder: Path) -> tuple[Path, Path | None]:
    images(folder / "val2014", "COCO_val2014_000000000042.jpg")
    questions = [
        {"image_id": 42, "question": f"What {what}?", "question_id": 42000 + n}
        for n, what in enumerate(("color", "animal"))
    ]
    subset = {"data_type": "mscoco", "data_subtype": "val2014", "license": {}, "info": {}}
    put(folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        subset | {"task_type": "Open-Ended", "questions": questions})  # fmt: skip
    annotations = [
        {"question_type": "what", "multiple_choice_answer": answer, "image_id": 42,
         "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": n}
                     for n in range(1, 11)],
         "answer_type": "other", "question_id": 42000 + number}
        for number, answer in enumerate(("red", "cat"))
    ]  # fmt: skip
    put(folder / "v2_mscoco_val2014_annotations.json", subset | {"annotations": annotations})
    return folder, None


def gqa(folder: Path) -> tuple[Path, Path]:
    row = {"imageId": "n161313", "answer": "no", "fullAnswer": "No.", "isBalanced": True,
           "semantic": [{"operation": "verify"}], "types": {"structural": "verify"}}  # fmt: skip
    rows = {"201307251": row | {"question": "Is it overcast?"}}
    put(folder / "testdev_balanced_questions.json", rows)
    return folder / "testdev_balanced_questions.json", images(folder / "images", "n161313.jpg")


def chartqa(folder: Path) -> tuple[Path, Path]:
    for kind in ("human", "augmented"):
        row = {"imgname": "41699051005347.png", "query": f"How many {kind}?", "label": "14"}
        put(folder / "test" / f"test_{kind}.json", [row])
    return folder / "test", images(folder / "test" / "png", "41699051005347.png")


def docvqa(folder: Path) -> tuple[Path, None]:
    row = {"questionId": 49153, "question": "What is the value?", "question_types": ["figure"],
           "image": "documents/pybv0228_81.png", "docId": 14465, "ucsf_document_id": "pybv0228",
           "ucsf_document_page_no": "81", "answers": ["0.28"], "data_split": "val"}  # fmt: skip
    images(folder / "documents", "pybv0228_81.png")
    put(folder / "val_v1.0_withQT.json", {"dataset_name": "SP-DocVQA", "data": [row]})
    return folder / "val_v1.0_withQT.json", None


def coco_caption(folder: Path) -> tuple[Path, Path]:
    name = "COCO_val2014_000000203564.jpg"
    notes = [{"image_id": 203564, "id": n, "caption": "A bike."} for n in range(5)]
    notes.append({"image_id": 7, "id": 9, "caption": "Two people on a beach."})
    pictures = [{"id": key, "file_name": name, "license": 4} for key in (203564, 7)]
    put(folder / "captions_val2014.json", {"images": pictures, "annotations": notes})
    return folder / "captions_val2014.json", images(folder / "val2014", name)


def infovqa(folder: Path) -> tuple[Path, Path]:
    row = {"questionId": 98313, "question": "Which is the least used?", "answers": ["linkedin"],
           "image_local_name": "38235.jpeg", "image_url": "https://a.b/c.png",
           "ocr_output_file": "38235.json", "answer_type": ["single span"], "data_split": "val",
           "operation/reasoning": []}  # fmt: skip
    file = folder / "infographicsVQA_val_v1.0_withQT.json"
    put(file, {"dataset_name": "infographicVQA", "dataset_split": "val", "data": [row]})
    return file, images(folder / "infographicsvqa_images", "38235.jpeg")


def nocaps(folder: Path) -> tuple[Path, Path]:
    file, pictures = coco_caption(folder)
    return file.rename(folder / "nocaps_val_4500_captions.json"), pictures


LOCAL = {
    "infovqa": (infovqa, ["Which is the least used?"]),
    "nocaps": (nocaps, ["Provide a one-sentence caption for the provided image."]),
    "pope": (pope, ["Is there a snowboard in the image?", "Is there a random in the image?"]),
    "vqav2": (vqav2, ["What color?", "What animal?"]),
    "gqa": (gqa, ["Is it overcast?"]),
    "chartqa": (chartqa, ["How many human?", "How many augmented?"]),
    "docvqa": (docvqa, ["What is the value?"]),
    "coco_caption": (coco_caption, ["Provide a one-sentence caption for the provided image."]),
}


@pytest.mark.parametrize("name", LOCAL)
def test_an_official_folder(name: str, tmp_path: Path) -> None:
    make, questions = LOCAL[name]
    data, root = make(tmp_path / "data")  # type: ignore[operator]
    task = load_task(name)
    made = write_rows(task, tmp_path / "out" / "rows.jsonl", data, root)
    rows = list(read(made.path, made.images))
    assert [row.question.split("\n")[0] for row in rows][: len(questions)] == questions
    assert all(Path(image).read_bytes() == picture() for row in rows for image in row.images)
    assert all(score > 0 for score in scores(task, rows, [row.answers[0] for row in rows]))
    if name == "pope":
        assert len({row.id for row in rows}) == 6
        names = [f"coco_pope_{kind}" for kind in ("random", "popular", "adversarial")]
        assert list(dict.fromkeys(row.extra["category"] for row in rows)) == names
    if name == "chartqa":
        assert [row.extra["type"] for row in rows] == ["test_human", "test_augmented"]
    two = write_rows(task, tmp_path / "one" / "rows.jsonl", data, root, limit=1)
    assert [row.id for row in read(two.path, two.images)] == [rows[0].id]


def test_every_task_is_tested() -> None:
    assert {*HUB, *LOCAL} == set(task_names())


def own(folder: Path, text: str) -> str:
    put(folder / "own.yaml", text)
    return str(folder / "own.yaml")


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    name = own(tmp_path, "title: mine\nprompt: '{room}: {question}'\nmetric: exact_match\n")
    put(tmp_path / "data.jsonl", json.dumps(
        {"id": 1, "image": "a.png", "question": "{room} or <image>?", "answer": "x", "room": "hall"}
    ))  # fmt: skip
    images(tmp_path, "a.png")
    made = write_rows(load_task(name), tmp_path / "out/rows.jsonl", tmp_path / "data.jsonl")
    (row,) = read(made.path, made.images)
    assert row.question == "hall: {room} or <image>?" and row.places == ()


def test_places_of_pictures_move_with_the_question(tmp_path: Path) -> None:
    name = own(tmp_path, "title: mine\nprompt: 'Say: {question}'\nmetric: exact_match\n")
    put(tmp_path / "data.jsonl", json.dumps(
        {"id": 1, "image": "a.png", "question": "what is <image>?", "answer": "x",
         "image_places": [8]}
    ))  # fmt: skip
    images(tmp_path, "a.png")
    made = write_rows(load_task(name), tmp_path / "out/rows.jsonl", tmp_path / "data.jsonl")
    (row,) = read(made.path, made.images)
    assert row.question[row.places[0] :].startswith("<image>?")


def test_questions_of_mmmu_without_choices(tmp_path: Path) -> None:
    row, *_ = HUB["mmmu"]
    opened = {"options": "[]", "question_type": "open", "answer": "['24/7', '3.429']"}
    pq.write_table(pa.Table.from_pylist([row | opened]), tmp_path / "data.parquet")
    task = load_task("mmmu")
    made = write_rows(task, tmp_path / "out/rows.jsonl", tmp_path / "data.parquet")
    rows = list(read(made.path, made.images))
    assert rows[0].question == f"<image 1> What is it with <image 2>?\n\n{SHORT}"
    assert rows[0].answers == ("24/7", "3.429") and rows[0].places == ()
    assert scores(task, rows, ["It is 3.43."]) == [1] and scores(task, rows, ["24"]) == [0]
    assert chance_of(task, rows) is None
