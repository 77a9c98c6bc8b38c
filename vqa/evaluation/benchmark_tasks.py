"""Named benchmarks: a YAML file each in `tasks`, or a user's own of the same keys."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vqa.errors import InputError
from vqa.metrics import Metric, get_metric
from vqa.utils.config import load_config

_SHIPPED = Path(__file__).parent / "tasks"


class Task(BaseModel):
    """What a benchmark asks, of which data, and how its answers are scored."""

    model_config = ConfigDict(extra="forbid")

    title: str  # in a few words
    data: str | None = None  # anything that `vqa.data.read` takes, where no path is given
    files: list[str] = []  # of a folder that is given in place of `data`; without it all of it
    columns: dict[str, str] = {}  # of this project, and what the data calls them
    prompt: str = Field(min_length=1)  # a line with a column that a row lacks is left out
    optional: list[str] = []  # columns of the prompt that no row of a copy need have
    open_prompt: str | None = Field(None, min_length=1)  # of rows without choices, else `prompt`
    metric: str
    profile: str = "official"
    by: str | None = None  # a column whose values are scored apart; of several files, their names
    chance: float | None = Field(None, ge=0, le=1)  # the score of guesses; of choices it is known
    max_new_tokens: int = Field(64, ge=1)

    @model_validator(mode="after")
    def _has_metric(self) -> Task:
        try:
            self.scored_by()
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def scored_by(self) -> Metric:
        """Return its metric."""
        return get_metric(self.metric, self.profile)


def task_names() -> list[str]:
    """List the tasks that ship."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_task(name: str) -> Task:
    """Load a task that ships, or the YAML file of that path. Raises InputError for others."""
    shipped = _SHIPPED / f"{name}.yaml"
    if name in task_names():
        return load_config(Task, str(shipped))
    if not name.endswith((".yaml", ".yml")):
        raise InputError(f"no task {name!r}; there are {', '.join(task_names())}, or a YAML file")
    return load_config(Task, name)
