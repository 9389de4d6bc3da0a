"""A small convolutional network for small images, such as 8 x 8 digits."""

from dataclasses import dataclass

from torch import nn

from trainables.bounds import Below1


@dataclass(frozen=True)
class CNN:
    """Three 3 x 3 convolutions with batch norm (16, 32, 32 channels), a pooling, a hidden layer.

    39,242 parameters for one channel of 8 x 8 and ten classes.
    """

    dropout: Below1 = 0.0  # share of hidden units set to zero in training

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        return nn.Sequential(
            *_block(channels, 16),
            *_block(16, 32),
            nn.MaxPool2d(2),
            *_block(32, 32),
            nn.Flatten(),
            nn.Linear(32 * (height // 2) * (width // 2), 48),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(48, classes),
        )


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # the batch norm that follows has its own offset
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
