"""Wide residual networks in the form that MR's authors use, WRN-28-10 at first."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu

from trainables.bounds import Below1, Count
from trainables.errors import ConfigError


@dataclass(frozen=True)
class WRN:
    """Three groups of pre-activation blocks, 16, 32 and 64 times `width` channels.

    36,489,290 parameters at 28, 10 and ten classes; 36,479,194, the paper's number, without biases.
    As in MR's code, and unlike the paper: convolutions have biases, a block's stride is its second
    convolution's, every shortcut is taken from the block's raw input, dropout stands right after
    the first convolution, the last batch norm moves its statistics by 0.9 a step, and weights
    start as torch starts them (the code defines another start, and never calls it).

    Source: NogaBar/mr_robust_optim, wide_resnet.py; Zagoruyko & Komodakis, "Wide Residual
    Networks", BMVC 2016.
    """

    depth: Count = 28  # 6 n + 4, for n blocks a group
    width: Count = 10
    dropout: Below1 = 0.0  # the learning-to-reweight paper's WRN-28-10 has 0.3
    bias: bool = True  # of the convolutions

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        blocks, rest = divmod(self.depth - 4, 6)
        if rest or blocks < 1:
            raise ConfigError(
                f"model.wrn-28-10.depth = {self.depth}: must be 6 n + 4, such as 10, 16, 28 or 40"
            )
        layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=self.bias)]
        inputs = 16
        for group in range(3):
            outputs = 16 * 2**group * self.width
            for number in range(blocks):
                stride = 2 if group and not number else 1
                layers.append(_Block(inputs, outputs, stride, self.dropout, self.bias))
                inputs = outputs
        return nn.Sequential(
            *layers,
            nn.BatchNorm2d(inputs, momentum=0.9),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(inputs, classes),
        )


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=bias)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, width, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(relu(self.bn1(x), inplace=True)))
        shortcut: Tensor = self.shortcut(x)
        changed: Tensor = self.conv2(relu(self.bn2(out), inplace=True))
        return changed + shortcut
