"""What the run and the loop take of a recipe: its settings, data, model and loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from training.common.memory import MemoryEstimate
from training.common.rows import TrainRows, ValidationSet
from training.common.settings import RunSettings
from training.common.skipped import SkippedRows
from training.common.trainer import RowTrainer
from vqa.models.llava import ModuleReport
from vqa.utils import fingerprint


@dataclass(frozen=True)
class PlanSize:
    """How large a run is."""

    rows: int  # of the data that are trained on
    pictures: int  # different ones of these rows
    validation_rows: int
    packed_rows: int  # that the loop runs over


@dataclass(frozen=True)
class SetVisits:
    """How often a run looks at the pictures of one set, the rows with the same `source`."""

    name: str
    pictures: int  # of the rows that may be trained on
    visited: int  # of these, at least once
    visits: int  # of all pictures together
    most: int  # visits of one picture
    questions: int  # that are trained on, one that comes twice counted twice


class TrainPlan(ABC):
    """Which rows are trained on, in which order, and which are held out."""

    skipped: SkippedRows  # rows that cannot be used
    data_fingerprint: str  # identity of the data files
    fingerprints: Mapping[str, str]  # of the files of pictures that can be opened, by path

    @property
    @abstractmethod
    def size(self) -> PlanSize:
        """How large the run is."""

    def pictures_fingerprint(self) -> str:
        """Compute the identity of the pictures' contents, which decide what is held out."""
        return fingerprint.of_json(sorted(set(self.fingerprints.values())))

    def sets(self) -> Sequence[SetVisits]:
        """Count the visits of each set's pictures, where the recipe knows of sets."""
        return ()

    def count_views(self) -> int:
        """Count the views of pictures besides the whole ones."""
        return 0


@dataclass(frozen=True)
class PreparedRun:
    """What the loop trains, and the rows it trains on."""

    model: nn.Module  # gradients are set for what learns; a peft model, or the model itself
    train: TrainRows
    validation: ValidationSet | None
    model_fingerprint: str = ""  # of the weights that the run starts from


@dataclass(frozen=True)
class ModelCard:
    """What the model card says of a recipe's result."""

    base: str  # the model that it started from
    trained: str  # what was trained of it
    commands: Sequence[str] | None = None  # that take it, where it does not answer questions
    task: str = "image-text-to-text"  # what hubs call its use, the card's `pipeline_tag`


SettingsT = TypeVar("SettingsT", bound=RunSettings)
PlanT = TypeVar("PlanT", bound=TrainPlan)


class Recipe(ABC, Generic[SettingsT, PlanT]):
    """One kind of training. A run calls its methods in the order in which they stand here.

    A dry run calls `plan`, `estimate`, `seconds` where the run fits into memory or `advice` where
    it does not, `steps` and `remarks`.
    """

    settings_class: ClassVar[type[RunSettings]]
    memory_advice: ClassVar[str]  # what to set where the memory is full

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    @abstractmethod
    def plan(self) -> PlanT:
        """Read the data and decide what is trained on. Raises InputError with all bad rows."""

    @abstractmethod
    def build(self, plan: PlanT) -> Any:
        """Load or compose the model, on the device of this process."""

    @abstractmethod
    def prepare(self, plan: PlanT, model: Any) -> PreparedRun:
        """Compute what does not change while the model trains, and set what learns of it."""

    @abstractmethod
    def report(self, model: Any) -> Sequence[ModuleReport]:
        """List the model's modules: what learns and what is frozen."""

    def remarks(self, plan: PlanT) -> list[str]:
        """List what the user should know of the data besides bad rows."""
        return []

    def while_training(self, model: Any) -> AbstractContextManager[None]:
        """Change the model for as long as it trains, such as to cached features."""
        return nullcontext()

    def arguments(self) -> dict[str, Any]:
        """List further arguments of transformers' Trainer."""
        return {}

    def collate(self, rows: Sequence[Any]) -> Any:
        """Join the rows that go through the model at once."""
        (row,) = rows
        return row

    @abstractmethod
    def trainer(self, **options: Any) -> RowTrainer:
        """Make the Trainer, whose class has the recipe's loss."""

    @abstractmethod
    def save(self, trainer: Any) -> None:
        """Write what was trained into the output directory; all processes call it."""

    @abstractmethod
    def card(self, plan: PlanT) -> ModelCard:
        """Describe the result for its model card."""

    def steps(self, plan: PlanT) -> int:
        """Count the optimizer steps."""
        return self.settings.steps_for(plan.size.packed_rows)

    @abstractmethod
    def estimate(self, plan: PlanT) -> MemoryEstimate:
        """Estimate the memory of a step."""

    @abstractmethod
    def advice(self, plan: PlanT, free: int) -> Iterable[str]:
        """List settings under which the run takes less memory; `free` bytes are there."""

    @abstractmethod
    def seconds(self, plan: PlanT) -> float:
        """Estimate how long all steps and missing features take, from a few that are tried."""
