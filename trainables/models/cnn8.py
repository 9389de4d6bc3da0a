"""The 8-layer convolutional network of Sparse Regularization on CIFAR-10."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class CNN8:
    """3 x 3 convolutions 64, 64 | 128, 128 | 196, 196, each pair pooled; 256 and K units.

    Every layer but the last has a bias, batch norm and ReLU. Weights start as the authors' do:
    convolutions from He's uniform distribution by fan-in, linear layers from Xavier's.

    Source: Zhou et al., "Learning with Noisy Labels via Sparse Regularization", ICCV 2021;
    hitcszx/lnl_sr, models.py.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        model = nn.Sequential(
            *_pair(channels, 64),
            *_pair(64, 128),
            *_pair(128, 196),
            nn.Flatten(),
            nn.Linear(196 * (height // 8) * (width // 8), 256),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Linear(256, classes),
        )
        for layer in model:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        return model


def _pair(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
