"""A small convolutional network for small images, such as 8 x 8 digits."""

from dataclasses import dataclass

from torch import nn

from trainables.bounds import Below1, Count


@dataclass(frozen=True)
class CNN:
    """Three 3 x 3 convolutions with batch norm (w, 2w, 2w channels), a pooling, 3w hidden units.

    39,242 parameters for one channel of 8 x 8 and ten classes.
    """

    width: Count = 16  # w
    dropout: Below1 = 0.0  # share of hidden units set to zero in training

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, height, width = shape
        return nn.Sequential(
            *_block(channels, self.width),
            *_block(self.width, 2 * self.width),
            nn.MaxPool2d(2),
            *_block(2 * self.width, 2 * self.width),
            nn.Flatten(),
            nn.Linear(2 * self.width * (height // 2) * (width // 2), 3 * self.width),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(3 * self.width, classes),
        )


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # the batch norm that follows has its own offset
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
