"""Losses that draw a picture and its text together and other pictures and texts apart.

A row is a picture and its text. Other rows are negatives, except for those with the same picture or
the same text: several captions of a picture are all true of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def contrastive_loss(
    pictures: Tensor, texts: Tensor, scale: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Compute the symmetric cross entropy of a batch (CLIP; Radford et al. 2021), a scalar.

    `pictures` and `texts` [B, d] have unit length, `scale` is the inverse temperature; `ignored`
    [B, B] marks pairs that are not compared (`duplicate_pairs`).
    """
    logits = scale * pictures @ texts.T  # [B, B]
    if ignored is not None:
        logits = logits.masked_fill(ignored, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sigmoid_loss(
    pictures: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Compute the binary cross entropy of all pairs (SigLIP; Zhai et al. 2023), a scalar."""
    logits = scale * pictures @ texts.T + bias  # [B, B]
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1  # 1 for the pair of a row, else -1
    losses = -F.logsigmoid(signs * logits)  # [B, B]
    if ignored is not None:
        losses = losses.masked_fill(ignored, 0.0)
    return losses.sum() / len(logits)


def duplicate_pairs(picture_ids: Tensor, text_ids: Tensor) -> Tensor:
    """Mark pairs of different rows with the same picture or text, [B, B]; ids are [B]."""
    same = picture_ids[:, None] == picture_ids[None]
    same |= text_ids[:, None] == text_ids[None]
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def gather_rows(rows: Tensor) -> Tensor:
    """Gather the rows [B, ...] of all processes, [processes * B, ...], in their order.

    Gradients flow back into the rows of every process, so that each process may compute the loss of
    the whole batch: where gradients are then averaged over processes, as DDP does, they are those
    of one process with all rows.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))
