"""FCNN, the fully connected network of stochastic resetting's code."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from trainables.bounds import Count


@dataclass(frozen=True)
class FCNN:
    """`depth` layers of `width` units, one of `last`, each with batch norm and ReLU; K logits.

    The authors end it in a softmax and train it with cross-entropy, which takes a second softmax
    of the first; here it ends in logits, as every network of ours does. Weights start as torch
    starts them, as in the authors' code.

    Source: qodudrud/stochastic-resetting, model/net.py.
    """

    width: Count = 250
    depth: Count = 5
    last: Count = 50

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        sizes = [channels * height * width, *[self.width] * self.depth, self.last]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            layers += [
                nn.Linear(inputs, outputs),
                nn.BatchNorm1d(outputs),
                nn.ReLU(inplace=True),
            ]
        return nn.Sequential(*layers, nn.Linear(self.last, classes))
