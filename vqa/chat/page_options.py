"""Options from the command that starts the page: the model, the hosts, the history."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Literal

ENVIRONMENT = "VQA_APP"  # variable from the command to the page, JSON


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load, and how: the arguments of `vqa.loading.load`."""

    name: str = "embedded"
    adapter: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: Literal["4bit", "8bit"] | None = None
    read: Literal["auto", "always", "never"] = "never"


@dataclass(frozen=True)
class PageOptions:
    """Options of the page, of which the command makes JSON."""

    choice: ModelChoice = field(default_factory=ModelChoice)  # the model it begins with
    min_confidence: float | None = None  # an answer of less is "not sure"
    history: str | None = None  # directory of the conversations; None: the user's own
    local: bool = True  # only this computer reaches the page
    host: str = "127.0.0.1"  # what it listens on
    allowed_hosts: tuple[str, ...] = ()  # other names by which browsers reach it


def page_options() -> PageOptions:
    """Read the options of `vqa app`; the defaults where the page was started otherwise."""
    values = json.loads(os.environ.get(ENVIRONMENT, "{}"))
    choice, hosts = ModelChoice(**values.get("choice", {})), tuple(values.get("allowed_hosts", ()))
    return PageOptions(**{**values, "choice": choice, "allowed_hosts": hosts})
