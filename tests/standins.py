"""A run, a batch and one step of it, for tests that drive a method's hooks without a loop."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part
from trainables.methods.base import Method
from trainables.methods.chain import Chain

K = 3


def run_of(**facts: Any) -> Any:
    """What methods see of a run: five examples of three classes, twenty steps in two epochs."""
    usual = {
        "size": 5,
        "classes": K,
        "labels": torch.tensor([0, 1, 2, 0, 1]),
        "steps": 20,
        "steps_per_epoch": 10,
        "step": 0,
        "lr": 0.5,
        "decay": 0.0,
        "device": torch.device("cpu"),
        "stream": lambda name, device="cpu": torch.Generator(device).manual_seed(len(name)),
    }
    return SimpleNamespace(**usual | facts)


def batch_of(index: list[int], weight: list[float] | None = None) -> Batch:
    """Examples of `run_of`, by default all of weight 1."""
    rows = torch.tensor(index)
    label = rows % K
    y = one_hot(label, K).float()
    if weight is not None:
        y *= torch.tensor(weight)[:, None]
    return Batch(torch.zeros(len(rows), 1, 2, 2), y, label, rows, (Part(rows, label, 1.0),))


def logits_of(rows: int, seed: int = 0) -> Tensor:
    """(rows, K)."""
    return torch.randn(rows, K, generator=torch.Generator().manual_seed(seed))


def stepped(method: Method, logits: Tensor, batch: Batch, run: Any) -> tuple[Tensor, Tensor]:
    """One step's hooks around given network outputs; gives the loss and its gradient by them."""
    outputs, chain = logits.clone().requires_grad_(), Chain({"": method})
    loss = chain.loss(chain.logits(outputs, batch, run), batch, run)
    loss.backward()  # type: ignore[no-untyped-call]
    chain.step(batch, run)
    assert outputs.grad is not None
    return loss.detach(), outputs.grad
