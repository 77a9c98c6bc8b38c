"""What the config of the training mix may say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal[
    "captions",
    "questions",
    "presence",
    "names",
    "counts",
    "colors",
    "actions",
    "details",
    "places",
    "indoors",
    "refusals",
    "conditions",
]
SetName = Literal[
    "flickr8k",
    "daquar",
    "coco",
    "voc",
    "ade20k",
    "grocery",
    "clothing",
    "caltech101",
    "tinyimagenet",
    "easy_vqa",
    "vqa_v2",
    "voc2012",
    "caltech101_more",
    "clothing_more",
    "weather",
    "materials",
    "scenes",
]


class SetSettings(BaseModel):
    """What is taken from one data set."""

    model_config = ConfigDict(extra="forbid")

    rows: dict[Task, int] = {}  # most rows of a task from one picture
    check: dict[Task, int] = {}  # most validation rows of a task, of all pictures
    validation: float = Field(0.05, ge=0, lt=1)  # share of pictures, unless the set has its own dev
    presence_each: int = Field(400, ge=1)  # most yes (and no) rows for one object
    same_name: int = Field(400, ge=1)  # most rows that ask for one name or place
    held_out_names: float = Field(0, ge=0, lt=1)  # share of its names that are never trained on
    single: bool = False  # its pictures show one thing, large: they are what is composed


class MixSettings(BaseModel):
    """The mix: which sets, how many rows of what."""

    model_config = ConfigDict(extra="forbid")

    data_root: Path | None = None  # a folder with one folder for each set
    out: Path | None = None  # where train.jsonl and val/ are written
    seed: int = 0
    chat: int = Field(0, ge=0)  # how often each question without a picture comes
    composed: int = Field(0, ge=0)  # pictures to count in, put together from those of single things
    instructions: int = Field(0, ge=0)  # questions that say how to answer, of each kind
    given_names: int = Field(0, ge=0)  # questions for each name of the classifier, given in a hint
    nobody: int = Field(0, ge=0)  # questions for people where there are none, and as many yes
    text: int = Field(0, ge=0)  # pictures with rendered text; needs vqa[read], and fonts
    sets: dict[SetName, SetSettings]
