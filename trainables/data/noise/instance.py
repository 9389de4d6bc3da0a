"""Instance-dependent noise: which class an image becomes is a function of its pixels.

    q_i ~ normal(rate, 0.1) truncated to [0, 1]     the chance that label i changes
    a_i = x_i W_y, a_iy = -inf                      W_c: (inputs, K) standard normal, one per class
    P_i = q_i softmax(a_i), P_iy = 1 - q_i          probabilities of the given label

Source: Xia et al., "Part-dependent Label Noise", arXiv 2006.07836. As in the authors' code
(xiaoboxia/Part-dependent-label-noise @ b682527, tools.py), W is chosen by the clean class and x is
the vector of pixels 0..255 (`scale: raw255`): the logits are then so large that each image has one
possible wrong class, and so alike that most images of a class share it (on CIFAR-10 two thirds of
a class's wrong labels are one class). `unit` divides the pixels by 255, which changes little.
`standardised` subtracts the mean of each channel and divides by its deviation, over the whole
training source: without the common light the images of a class scatter (a quarter). The realised
rate is the mean of q, which truncation lifts near 0 (0.1 gives 0.129, 0 gives 0.08) and lowers
near 1. (Published files need not come from this generator: stochastic resetting's draws one W for
all classes, and then most labels of all classes become one class.)

The same labels on every machine: pixels are integers and W is rounded to multiples of 2^-20, so
each sum of x W is exact in float64 (below 2^53), in whatever order a machine adds it up. What may
differ is the last digit of log and exp: a label could change only where a draw lies within about
1e-15 of a boundary, or an entry of W within 1e-10 of a rounding boundary, and then by 1e-6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from trainables.bounds import Unit
from trainables.data.noise.base import Clean, Labels, Rows, drawn, stream

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.uint8]
Weights = Callable[[int], npt.NDArray[Any]]  # clean class -> (C H W, K)
SPREAD = 0.1  # standard deviation of q before truncation, the authors'
GRAIN = 2.0**20  # steps of W per unit
BLOCK = 1024  # images at a time


class Scaling(NamedTuple):
    """What the pixels of each channel lose, and are then multiplied by."""

    shift: Floats  # (C,)
    factor: Floats  # (C,)


def probabilities(
    images: Images, rows: Labels, labels: Labels, q: Floats, weights: Weights, scaling: Scaling
) -> Rows:
    """(S, K) probabilities of each given label, one clean class after the other.

    Args:
        images: (M, C, H, W) uint8, a whole source.
        rows: (S,) positions in it.
        labels: (S,) their clean labels.
        q: (S,) chances of a change.
        weights: gives each class's W; called once for each class that is there.
        scaling: of the pixels.
    """
    parts = []
    order = np.argsort(labels, kind="stable")
    present, counts = np.unique(labels, return_counts=True)
    for label, members in zip(present, np.split(order, counts.cumsum()[:-1]), strict=True):
        matrix = weights(int(label)).astype(np.float64)
        for start in range(0, len(members), BLOCK):
            part = members[start : start + BLOCK]
            logits = projected(images[rows[part]], matrix, scaling)
            logits[:, label] = -np.inf
            wrong = np.exp(logits - logits.max(axis=1, keepdims=True))
            wrong *= (q[part] / wrong.sum(axis=1))[:, None]
            wrong[:, label] = 1 - q[part]
            parts.append(wrong)
    found = np.empty((len(labels), parts[0].shape[1]))
    found[order] = np.concatenate(parts)
    return found


def projected(images: Images, matrix: Floats, scaling: Scaling) -> Floats:
    """(B, K) products of scaled pixels with a matrix (C H W, K), scaled after the exact sums."""
    count, channels = images.shape[:2]
    pixels = images.reshape(count, channels, -1).astype(np.float64)
    blocks = matrix.reshape(channels, -1, matrix.shape[1])
    logits = np.zeros((count, matrix.shape[1]))
    for channel, (shift, factor) in enumerate(zip(*scaling, strict=True)):
        product = pixels[:, channel] @ blocks[channel]
        logits += factor * (product - shift * blocks[channel].sum(axis=0))
    return logits


def normal(uniforms: Floats) -> Floats:
    """Standard normal deviates of uniforms from [0, 1).

    >>> normal(np.array([0.0, 0.5, 0.975])).round(2)
    array([-8.29,  0.  ,  1.96])
    """
    inside = np.clip(uniforms, 2.0**-54, None)  # 0 would be -inf
    deviates: Floats = torch.special.ndtri(torch.from_numpy(inside)).numpy()
    return deviates


def chances(rate: float, uniforms: Floats) -> Floats:
    """q: normal deviates about `rate`, truncated to [0, 1]; growing with the rate.

    >>> chances(0.4, np.array([0.0, 0.5, 0.975])).round(3)
    array([0.   , 0.4  , 0.596])
    """
    about = NormalDist(rate, SPREAD)
    low, high = about.cdf(0), about.cdf(1)
    return np.clip(rate + SPREAD * normal(low + uniforms * (high - low)), 0, 1)


def channel_statistics(images: Images) -> tuple[Floats, Floats]:
    """(C,) means and (C,) deviations of the pixels, from sums of integers."""
    count = len(images) * images[0, 0].size
    total = np.zeros((2, images.shape[1]), dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.int64)
        total += [block.sum(axis=(0, 2, 3)), (block**2).sum(axis=(0, 2, 3))]
    mean = total[0] / count
    return mean, np.sqrt(total[1] / count - mean**2)


def scaling_of(images: Images, scale: str) -> Scaling:
    """What `scale` means for a source."""
    channels = images.shape[1]
    if scale == "standardised":
        mean, deviation = channel_statistics(images)
        return Scaling(mean, 1 / np.where(deviation > 0, deviation, 1))
    factor = {"raw255": 1.0, "unit": 1 / 255}[scale]
    return Scaling(np.zeros(channels), np.full(channels, factor))


@dataclass(frozen=True)
class Instance:
    """Xia et al.'s noise; `scale` decides how much of an image its label depends on."""

    rate: Unit = 0.4
    scale: Literal["raw255", "unit", "standardised"] = "raw255"  # the authors'

    def given(self, clean: Clean, seed: int) -> Labels:
        inputs, classes = clean.images[0].size, clean.classes

        def weights(label: int) -> Floats:
            draws = stream(seed, "weights", label).random((inputs, classes))
            return np.rint(normal(draws) * GRAIN) / GRAIN

        # of the whole source, so that a part of it has the labels that it has in the whole
        q = chances(self.rate, stream(seed, "chance").random(len(clean.images)))[clean.rows]
        scaling = scaling_of(clean.images, self.scale)
        rows = probabilities(clean.images, clean.rows, clean.labels, q, weights, scaling)
        return drawn(rows, clean.labels, clean.uniforms(seed))
