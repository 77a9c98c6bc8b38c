"""Losses that draw a picture and its text together and other pictures and texts apart.

A row is a picture with one text of its own. What another row shows is a negative, except where that
is the same picture or the same text: several captions of a picture are all true of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def contrastive(
    pictures: Tensor, texts: Tensor, scale: Tensor, left_out: Tensor | None = None
) -> Tensor:
    """Symmetric cross entropy over the rows of a batch (CLIP; Radford et al. 2021), a scalar.

    `pictures` and `texts` [B, d] have unit length, `scale` is the inverse temperature; `left_out`
    [B, B] marks pairs that are not compared (`alike`).
    """
    logits = scale * pictures @ texts.T  # [B, B]
    if left_out is not None:
        logits = logits.masked_fill(left_out, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sigmoid(
    pictures: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, left_out: Tensor | None = None
) -> Tensor:
    """Each pair alone is right or wrong (SigLIP; Zhai et al. 2023), a scalar. Shapes as above."""
    logits = scale * pictures @ texts.T + bias  # [B, B]
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1  # 1 for a row's own pair, else -1
    losses = -F.logsigmoid(signs * logits)  # [B, B]
    if left_out is not None:
        losses = losses.masked_fill(left_out, 0.0)
    return losses.sum() / len(logits)


def alike(picture_ids: Tensor, text_ids: Tensor) -> Tensor:
    """Which pairs of different rows share their picture or their text, [B, B]; ids are [B]."""
    same = picture_ids[:, None] == picture_ids[None]
    same |= text_ids[:, None] == text_ids[None]
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def gathered(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes, [processes * B, ...], in the order of the processes.

    Gradients flow back into the rows of every process, so that each process may compute the loss of
    the whole batch: where gradients are then averaged over processes, as DDP does, they are those
    of one process with all rows.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))
