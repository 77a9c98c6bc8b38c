"""The losses against what they are defined as, and what may not be a negative."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import torch
from torch.nn import functional as F

from tests.cli.run import environment
from vqa.alignment.losses import contrastive_loss, duplicate_pairs, gather_rows, sigmoid_loss


def unit(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_contrastive_is_clips_loss() -> None:
    pictures, texts, scale = unit(5, 0), unit(5, 1), torch.tensor(7.0)
    expected = 0.0
    for own, others in ((pictures, texts), (texts, pictures)):
        for row in range(5):
            logits = [7.0 * float(own[row] @ other) for other in others]
            expected += (math.log(sum(map(math.exp, logits))) - logits[row]) / 10
    assert math.isclose(float(contrastive_loss(pictures, texts, scale)), expected, rel_tol=1e-5)


def test_sigmoid_is_siglips_loss() -> None:
    pictures, texts = unit(4, 0), unit(4, 1)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            logit = 5 * float(pictures[i] @ texts[j]) - 2
            expected += math.log1p(math.exp(-logit if i == j else logit)) / 4
    loss = sigmoid_loss(pictures, texts, torch.tensor(5.0), torch.tensor(-2.0))
    assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_captions_of_a_picture_and_equal_captions_are_no_negatives() -> None:
    left_out = duplicate_pairs(torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 7, 7]))
    assert left_out.nonzero().tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    pictures, texts, scale = unit(4, 0), unit(4, 1), torch.tensor(3.0)
    texts.requires_grad_()
    loss = contrastive_loss(pictures[:2], texts[:2], scale, left_out[:2, :2])
    assert float(loss.detach()) == 0.0  # each is compared with itself alone
    bias = torch.tensor(0.0)
    some = sigmoid_loss(pictures[:2], texts[:2], scale, bias, left_out[:2, :2])
    alone = [sigmoid_loss(pictures[n : n + 1], texts[n : n + 1], scale, bias) for n in range(2)]
    torch.testing.assert_close(some, (alone[0] + alone[1]) / 2)


def test_without_processes_nothing_is_gathered() -> None:
    rows = unit(3, 0)
    assert gather_rows(rows) is rows


_TWO = """
import os
import torch
from torch import distributed
from torch.nn import functional as F
from vqa.alignment.losses import contrastive_loss, gather_rows

distributed.init_process_group("gloo")
rank = distributed.get_rank()
torch.manual_seed(0)
x, y = torch.randn(6, 4), torch.randn(6, 4)
weight = torch.randn(4, 3).requires_grad_()

def loss(x, y, of=lambda rows: rows):
    return contrastive_loss(of(F.normalize(x @ weight, dim=-1)), of(F.normalize(y, dim=-1)[:, :3]),
                       torch.tensor(5.0))

whole = torch.autograd.grad(loss(x, y), weight)[0]
own = slice(3 * rank, 3 * rank + 3)
shared = loss(x[own], y[own], gather_rows)
torch.testing.assert_close(shared, loss(x, y))
part = torch.autograd.grad(shared, weight)[0]
distributed.all_reduce(part)
torch.testing.assert_close(part / 2, whole)  # as DDP averages
distributed.barrier()
os._exit(0)  # a thread of gloo aborts some processes as the interpreter ends: not what is asked
"""


def test_two_processes_give_the_gradient_of_one() -> None:
    port = str(20000 + os.getpid() % 20000)
    extra = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen([sys.executable, "-c", _TWO], env=environment(extra | {"RANK": str(rank)}))
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
