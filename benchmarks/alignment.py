"""How far the gradients that training follows point where clean labels would have it go.

A mini-batch's gradient, by the given labels, is compared with the gradient over all training rows
by their clean labels. The source of stochastic resetting explains the method by this angle: late in
training the noisy part of the gradient drags the model into memorising, and a reset takes it back
to where gradients still point along the clean one.

Source: Bae et al., arXiv 2406.00396. A benchmark may look at clean labels; no method does.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.data.resident import scaled
from trainables.loop import Loop
from trainables.methods.reset import Reset

BATCHES = 8  # mini-batches whose cosines are averaged


@dataclass
class Trace:
    """Of one trial.

    Attributes:
        epoch: when it was measured.
        cosine: mean of a mini-batch's gradient with the clean one.
        activated: the epoch in which resetting became active; None without.
        resets: how many there were.
    """

    epoch: list[float] = field(default_factory=list)
    cosine: list[float] = field(default_factory=list)
    activated: float | None = None
    resets: int = 0


def gradient(loop: Loop, index: Tensor, label: Tensor) -> Tensor:
    """The gradient by all parameters, flat, of the mean cross-entropy of rows to these labels.

    Of the images as they are: a view would take its moves from the draws of the step to come.
    """
    loss = cross_entropy(loop.forward(scaled(loop.data.training(index))), label)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, loop.parameters)])


def alignment(loop: Loop, clean: Tensor, draws: torch.Generator) -> float:
    """The mean cosine of mini-batch gradients, given labels, with the clean gradient over all rows.

    In training mode, whose batch statistics training follows too; running statistics are put back.

    Args:
        loop: a trial between two steps.
        clean: (N,) true classes of its training rows.
        draws: of the mini-batches.
    """
    held = [buffer.clone() for buffer in loop.model.buffers()]
    loop.model.train()
    target = torch.zeros(())
    for index in torch.split(torch.randperm(loop.size, generator=draws), loop.batch):
        target = target + len(index) / loop.size * gradient(loop, index, clean[index])
    cosines = []
    for _ in range(BATCHES):
        index = torch.randperm(loop.size, generator=draws)[: loop.batch]
        found = gradient(loop, index, loop.data.labels[index])
        cosines.append(float(cosine_similarity(found, target, dim=0)))
    for buffer, before in zip(loop.model.buffers(), held, strict=True):
        buffer.copy_(before)
    return sum(cosines) / len(cosines)


def trace(plain: dict[str, Any], every: int) -> Trace:
    """Train a trial on the CPU, measuring every so many steps."""
    config = Config.parse(plain)
    data = prepare(config.task)
    loop = Loop(config, data, device="cpu")
    clean = data.clean[torch.from_numpy(data.train)]
    draws = torch.Generator().manual_seed(config.seed)
    reset = loop.chain.methods.get("reset")
    found = Trace()
    while not loop.ended:
        if loop.step % every == 0:
            found.epoch.append(loop.step / loop.steps_per_epoch)
            found.cosine.append(alignment(loop, clean, draws))
        loop.model.train()
        loop.advance()
        if isinstance(reset, Reset):
            found.resets = reset.count
            if reset.active and found.activated is None:
                found.activated = loop.step / loop.steps_per_epoch
    loop.close()
    return found
