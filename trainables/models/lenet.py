"""LeNet as CDR's authors use it on MNIST: 61,706 parameters for one channel of 28 x 28."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class LeNet:
    """conv 6@5x5 (padding 2), conv 16@5x5, each with ReLU and pooling; 120, 84, K units.

    Source: methods of Xia et al., "Robust early-learning: Hindering the memorization of noisy
    labels", ICLR 2021, and LeCun et al. 1998.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        left = ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * left, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
