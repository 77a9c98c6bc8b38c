"""One prediction run by several processes, which `accelerate launch` or torchrun has started."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from vqa.errors import InputError
from vqa.evaluation.predicting import PredictionCounts, check_output
from vqa.evaluation.predictions import RowId
from vqa.evaluation.shards import merge, merge_leftover_parts, remove_parts, shard_path
from vqa.utils.progress import progress_bar


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that were started for one command."""

    rank: int  # of this process, from 0
    world_size: int

    @property
    def is_main(self) -> bool:
        """Return whether this process merges what all have written."""
        return self.rank == 0

    def device(self) -> str:
        """Return the device of this process, one for each on a machine."""
        import torch

        kind = torch.accelerator.current_accelerator()
        if kind is None or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true"):
            return "cpu"
        return f"{kind.type}:{os.environ.get('LOCAL_RANK', '0')}"


def process_group_from_environment() -> ProcessGroup | None:
    """Read WORLD_SIZE and RANK; return None for a process alone. Raises InputError."""
    try:
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "-1"))
    except ValueError as error:
        raise InputError(f"WORLD_SIZE and RANK are numbers, set by torchrun: {error}") from None
    return ProcessGroup(rank, world_size) if world_size > 1 and rank >= 0 else None


def predict_distributed(
    predict_rows: Callable[..., PredictionCounts],
    name: str,
    out: Path,
    ids: Sequence[RowId],
    group: ProcessGroup,
    run: str,
) -> PredictionCounts | None:
    """Answer in several processes, each to a part beside `out`, which the main one merges.

    `predict_rows` is `vqa.evaluation.predicting.predict` but for where it writes, `name` the
    model's. Rows of earlier runs, with however many processes, stay, if they are of this `run`
    (`run_fingerprint`). Returns the counts in the main process.
    """
    from torch import distributed

    # gloo: processes only wait for each other, some for hours, and need no device for that
    distributed.init_process_group("gloo", timeout=timedelta(days=30))
    parts = [shard_path(out, rank + 1, group.world_size) for rank in range(group.world_size)]
    mine = {"shard": (group.rank + 1, group.world_size), "sources": [out]}
    outcome = None
    try:
        if group.is_main:
            check_output(out, set(ids), set(ids))
            merge_leftover_parts(out, run)
        distributed.barrier()
        if group.is_main:
            with progress_bar(f"{name}, process 1 of {group.world_size}") as update:
                predict_rows(parts[group.rank], **mine, progress=update)
        else:
            predict_rows(parts[group.rank], **mine)
        distributed.barrier()
        if group.is_main:
            total, errors = merge(parts, out, ids)
            remove_parts(out)
            outcome = PredictionCounts(total - errors, errors, 0)
        distributed.barrier()  # a thread of gloo that outlives the others aborts its process
    finally:
        distributed.destroy_process_group()
    return outcome
