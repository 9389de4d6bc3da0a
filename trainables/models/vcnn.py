"""VCNN, the plain convolutional network of stochastic resetting's code."""

from dataclasses import dataclass

from torch import nn

from trainables.bounds import Below1


@dataclass(frozen=True)
class VCNN:
    """3 x 3 convolutions 32, 64 | 128, 128 | 256, 256, each pair pooled; 1024, 512, K units.

    Every layer but the last has a bias, batch norm and ReLU; dropout stands before the units.
    Weights start as torch starts them, as in the authors' code. Larger or smaller images change
    the first linear layer only.

    Source: qodudrud/stochastic-resetting, model/net.py.
    """

    dropout: Below1 = 0.2

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        return nn.Sequential(
            *_pair(channels, 32, 64),
            *_pair(64, 128, 128),
            *_pair(128, 256, 256),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(256 * (height // 8) * (width // 8), 1024),
            nn.BatchNorm1d(1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            nn.Linear(512, classes),
        )


def _pair(inputs: int, middle: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, middle, 3, padding=1),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
