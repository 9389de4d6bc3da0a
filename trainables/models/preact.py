"""PreActResNet-18 as SOP's authors wrote it."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu


@dataclass(frozen=True)
class PreActResNet18:
    """Pre-activation blocks behind a stem that keeps its batch norm and ReLU.

    It differs from the paper's network: the stem is convolution, batch norm, ReLU; no batch norm
    follows the last block. A block that changes the size takes its shortcut after its first
    batch norm and ReLU; SOP's other blocks do so too, where the paper's add the block's input.
    Weights start as torch starts them, as in the authors' code.

    Source: shengliu66/SOP, model/PreResNet.py; He et al., "Identity Mappings in Deep Residual
    Networks", ECCV 2016.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        ]
        inputs = 64
        for width in (64, 128, 256, 512):
            stride = 1 if width == 64 else 2
            layers += [_Block(inputs, width, stride), _Block(width, width, 1)]
            inputs = width
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)
        )


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(x), inplace=True)
        shortcut: Tensor = self.shortcut(out)
        changed: Tensor = self.conv2(relu(self.bn2(self.conv1(out)), inplace=True))
        return changed + shortcut
