"""The hand-written loop that `throughput` compares the platform with: what a person would write.

Labels in place of soft targets, one generator in place of named streams, cuDNN's search for the
fastest kernels, nothing kept, nothing reported.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy, pad

from trainables.data.dataset import Dataset
from trainables.data.views import STILL, View

LR = 0.05


@dataclass(frozen=True)
class Arrays:
    """A data set as a script would hold it on its device; `scale` and `offset` normalise bytes."""

    images: Tensor
    labels: Tensor
    validation: Tensor
    validation_labels: Tensor
    scale: Tensor
    offset: Tensor
    view: View


def arrays(data: Dataset, device: torch.device) -> Arrays:
    train, held = torch.from_numpy(data.train), torch.from_numpy(data.validation)
    rows = torch.from_numpy(data.rows)
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return Arrays(
        data.images[rows[train]].to(device),
        data.given[train].to(device),
        data.images[rows[held]].to(device),
        data.given[held].to(device),
        (1 / (255 * std)).to(device),
        (-mean / std).to(device),
        data.view,
    )


# The bare loop: from here to the next line of dashes, at most 60 lines.
# --------------------------------------------------------------------------------------------------


def moved(images: Tensor, view: View, draws: torch.Generator) -> Tensor:
    (count, channels, height, width), device = images.shape, images.device
    moves = torch.randint(2 * view.pixels + 1, (2, count, 1), generator=draws, device=device)
    columns = torch.arange(width, device=device).expand(count, width)
    if view.flip:
        flips = torch.randint(2, (count, 1), generator=draws, device=device).bool()
        columns = torch.where(flips, width - 1 - columns, columns)
    rows = (moves[0] + torch.arange(height, device=device))[:, :, None]
    where = rows * (width + 2 * view.pixels) + (moves[1] + columns)[:, None, :]
    where = where.flatten(1)[:, None].expand(-1, channels, -1)
    return pad(images, (view.pixels,) * 4).flatten(2).gather(2, where).view_as(images)


@torch.backends.cudnn.flags(enabled=True, benchmark=True)
def bare(model: Module, data: Arrays, batch: int, epochs: int, few: int, half: bool) -> float:
    """Train epochs and give the last validation loss, or `few` steps and give their loss."""
    device, size, step = data.images.device, len(data.labels), 0
    order = torch.Generator().manual_seed(1)
    draws = torch.Generator(device).manual_seed(2)
    sgd = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, fused=True)
    steps = epochs * -(-size // batch)
    sums = torch.zeros(2, device=device)

    def logits_of(images: Tensor) -> Tensor:
        x = images.to(torch.float32, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits: Tensor = model(torch.addcmul(data.offset, x, data.scale))
        return logits.float()

    for _ in range(epochs):
        model.train()
        sums.zero_()
        shuffled = torch.randperm(size, generator=order).to(device)
        for index in torch.split(shuffled, batch)[: few or None]:
            x, y = data.images[index], data.labels[index]
            if data.view != STILL:
                x = moved(x, data.view, draws)
            sgd.param_groups[0]["lr"] = LR * (1 + math.cos(math.pi * step / steps)) / 2
            logits = logits_of(x)
            loss = cross_entropy(logits, y)
            sgd.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()
            with torch.no_grad():
                sums[0] += loss * len(y)
                sums[1] += (logits.argmax(1) == y).sum()
            step += 1
        if few:
            return (sums[0] / (few * batch)).item()
        model.eval()
        with torch.no_grad():
            logits = torch.cat([logits_of(part) for part in torch.split(data.validation, 512)])
            loss = cross_entropy(logits, data.validation_labels)
            hits = (logits.argmax(1) == data.validation_labels).float().mean()
        report: list[float] = [*(sums / size).tolist(), loss.item(), hits.item()]
    return report[2]


# --------------------------------------------------------------------------------------------------
