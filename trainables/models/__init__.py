"""The networks, by the name a task calls them."""

from typing import Protocol

from torch import nn

from trainables.models.cnn import CNN
from trainables.models.lenet import LeNet


class Model(Protocol):
    """A network's options; a dataclass whose fields are its schema."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A fresh network for images of shape (C, H, W); draws from torch's global stream."""
        ...


MODELS: dict[str, type[Model]] = {"cnn": CNN, "lenet": LeNet}
