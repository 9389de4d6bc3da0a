"""The networks, by the name a task calls them."""

from typing import Protocol

from torch import nn

from trainables.models.cnn import CNN
from trainables.models.cnn8 import CNN8
from trainables.models.cnn9 import CNN9
from trainables.models.fcnn import FCNN
from trainables.models.lenet import LeNet
from trainables.models.preact import PreActResNet18
from trainables.models.resnet import ResNet18, ResNet34, ResNet50
from trainables.models.vcnn import VCNN
from trainables.models.vit import ViT
from trainables.models.wrn import WRN
from trainables.models.zoo import Torchvision


class Model(Protocol):
    """A network's options; a dataclass whose fields are its schema."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A fresh network for images of shape (C, H, W); draws from torch's global stream.

        It gives (B, K) logits. On the meta device it is built for its shapes alone.

        Raises:
            ConfigError: an option that no images fit.
            ValueError, RuntimeError: these images do not fit.
        """
        ...


MODELS: dict[str, type[Model]] = {
    "cnn": CNN,
    "lenet": LeNet,
    "fcnn": FCNN,
    "vcnn": VCNN,
    "cnn8": CNN8,
    "cnn9": CNN9,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "preact-resnet18": PreActResNet18,
    "wrn-28-10": WRN,
    "vit": ViT,
    "torchvision": Torchvision,
}
