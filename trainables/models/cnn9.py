"""The 9-layer convolutional network of Co-teaching."""

from dataclasses import dataclass

from torch import nn

from trainables.bounds import Below1


@dataclass(frozen=True)
class CNN9:
    """3 x 3 convolutions 128 x 3, 256 x 3, then 512, 256, 128 without padding; mean; K logits.

    Each has a bias, batch norm and leaky ReLU (slope 0.01). The first two groups end in a pooling
    and a dropout of whole channels, which the authors leave on while they test; here it acts in
    training only. Weights start as torch starts them, as in the authors' code.

    Source: Han et al., "Co-teaching", NeurIPS 2018; bhanML/Co-teaching, model.py.
    """

    dropout: Below1 = 0.25

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(
            *_block(shape[0], 128),
            *_block(128, 128),
            *_block(128, 128),
            nn.MaxPool2d(2),
            nn.Dropout2d(self.dropout),
            *_block(128, 256),
            *_block(256, 256),
            *_block(256, 256),
            nn.MaxPool2d(2),
            nn.Dropout2d(self.dropout),
            *_block(256, 512, padding=0),
            *_block(512, 256, padding=0),
            *_block(256, 128, padding=0),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, classes),
        )


def _block(inputs: int, outputs: int, padding: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=padding)
    return convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01, inplace=True)
