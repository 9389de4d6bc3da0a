"""ResNet-18, -34 and -50 as this field trains them on CIFAR.

The `cifar` stem is one 3 x 3 convolution of stride 1, so that 32 x 32 images keep their size; the
`imagenet` stem, for images of about 224 x 224, is a 7 x 7 one of stride 2 and a pooling. `padding`
is 1 where the stem pads; CDR's copy does not (0). The mean over what is left of the image equals
the sources' 4 x 4 pooling at 32 x 32 and takes every other size. Weights start as torch starts
them, as in the code of MR, SOP, CDR and resetting.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; NogaBar/
mr_robust_optim, resnet.py; xiaoboxia/CDR, resnet.py.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import relu

Stem = Literal["cifar", "imagenet"]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ResNet18:
    """11,173,962 parameters for three channels and ten classes."""

    stem: Stem = "cifar"
    padding: Literal[1, 0] = 1

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return _resnet(_stem(self.stem, shape[0], self.padding), _Basic, (2, 2, 2, 2), classes)


@dataclass(frozen=True)
class ResNet34:
    """21,282,122 parameters for three channels and ten classes."""

    stem: Stem = "cifar"
    padding: Literal[1, 0] = 1

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return _resnet(_stem(self.stem, shape[0], self.padding), _Basic, (3, 4, 6, 3), classes)


@dataclass(frozen=True)
class ResNet50:
    """23,520,842 parameters for three channels and ten classes."""

    stem: Stem = "cifar"
    padding: Literal[1, 0] = 1

    def build(self, shape: Shape, classes: int) -> nn.Module:
        return _resnet(_stem(self.stem, shape[0], self.padding), _Bottleneck, (3, 4, 6, 3), classes)


class _Basic(nn.Module):
    """Two 3 x 3 convolutions, and the shortcut added before the last ReLU."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)), inplace=True)
        return relu(self.bn2(self.conv2(out)) + self.shortcut(x), inplace=True)


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1 to four times the width."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)), inplace=True)
        out = relu(self.bn2(self.conv2(out)), inplace=True)
        return relu(self.bn3(self.conv3(out)) + self.shortcut(x), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))


def _stem(kind: Stem, channels: int, padding: int) -> list[nn.Module]:
    if kind == "cifar":
        convolution = nn.Conv2d(channels, 64, 3, padding=padding, bias=False)
        return [convolution, nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    convolution = nn.Conv2d(channels, 64, 7, stride=2, padding=3 * padding, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return [convolution, nn.BatchNorm2d(64), nn.ReLU(inplace=True), pool]


def _resnet(
    stem: list[nn.Module],
    block: type[_Basic] | type[_Bottleneck],
    counts: tuple[int, int, int, int],
    classes: int,
) -> nn.Module:
    layers, inputs = stem, 64
    for group, count in enumerate(counts):
        width = 64 * 2**group
        for number in range(count):
            layers.append(block(inputs, width, stride=2 if group and not number else 1))
            inputs = width * block.expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
