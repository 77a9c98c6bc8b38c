"""The public data sets of the training mix: where each comes from, how it is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vqa.data import easy_vqa
from vqa.data.picture import Label, Picture
from vqa.data.readers import caption_csv, class_folders, coco, daquar, path_list, scene_list
from vqa.data.tables import labels
from vqa.files import read_jsonl


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
    return caption_csv.read(root / "captions.txt", root / "images", splits, "flickr8k")


def _daquar(root: Path) -> Iterator[Picture]:
    return daquar.read(root / "qa_train.txt", root / "images")


def _coco(root: Path) -> Iterator[Picture]:
    return coco.read(root / "images", root / "instances.json", root / "captions.json", "coco")


def _voc(root: Path) -> Iterator[Picture]:
    return coco.read(root / "images", root / "instances.json", source="voc")


def _ade20k(root: Path) -> Iterator[Picture]:
    return scene_list.read(root / "scenes.txt", root / "images", "ade20k")


def _grocery(root: Path) -> Iterator[Picture]:
    return path_list.read(root / "train.txt", root / "classes.csv", root, _product, "grocery")


def _product(path: str, fine: str, coarse: str) -> Label:
    label = labels("grocery").get(coarse)
    if label is None:
        plain = coarse.replace("-", " ").lower()
        return Label(plain, plain)
    # a carton's fine name is a brand that nobody could read at this size
    kind = label.everyday if "/Packages/" in path else fine.replace("-", " ").lower()
    return replace(label, synonyms=(kind,))


def _easy_vqa(root: Path) -> Iterator[Picture]:
    """The official training half; its pictures are all for training."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for _, row in read_jsonl(root / "train.jsonl"):
        found[row["image"]].append((row["question"], row["answer"]))
    for name, pairs in found.items():
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


SETS = {
    "flickr8k": DataSet(
        "Flickr8k: captions.txt, train.txt, dev.txt, images/ "
        "(Hodosh, Young and Hockenmaier 2013; research, non-commercial)",
        _flickr8k,
    ),
    "daquar": DataSet(
        "DAQUAR: qa_train.txt, images/ (Malinowski and Fritz 2014, on NYU Depth v2; "
        "github.com/tezansahu/VQA-With-Multimodal-Transformers)",
        _daquar,
    ),
    "coco": DataSet(
        "COCO, any part of train2017: instances.json, captions.json, images/ "
        "(Lin et al. 2014; cocodataset.org)",
        _coco,
    ),
    "voc": DataSet(
        "PASCAL VOC with boxes as COCO json: instances.json, images/ "
        "(Everingham et al. 2010; github.com/BernieChen96/ImageClassification)",
        _voc,
    ),
    "ade20k": DataSet(
        "ADE20K scenes: scenes.txt (picture and scene), images/ "
        "(Zhou et al. 2017; github.com/CSAILVision/sceneparsing)",
        _ade20k,
    ),
    "grocery": DataSet(
        "Grocery Store Dataset: train.txt, classes.csv, train/ "
        "(Klasson et al. 2019; github.com/marcusklasson/GroceryStoreDataset)",
        _grocery,
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
    "easy_vqa": DataSet(
        "easy-VQA, its training half: fetched from the package index (Victor Zhou, MIT)",
        _easy_vqa,
        easy_vqa.directory,
    ),
}
