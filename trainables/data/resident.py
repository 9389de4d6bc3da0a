"""A trial's data on its device: a batch is an index, and nothing is loaded while it trains."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.data.dataset import Dataset


class Resident:
    """The training and validation rows of a data set, in a device's memory.

    Args:
        data: the data set.
        device: where it is to live.
        probe: (P, C, H, W) uint8 images to be looked at after each epoch, if any.

    Attributes:
        images: (N, C, H, W) uint8, the training rows.
        labels: (N,) given classes.
        targets: (N, K) the same, one-hot.
        validation: (V, C, H, W) in [0, 1].
        validation_labels: (V,) given classes.
        probe: (P, C, H, W) in [0, 1], or None.
        shape: C, H, W.
        mean, std: (C, 1, 1), of the source.
    """

    def __init__(self, data: Dataset, device: torch.device, probe: Tensor | None) -> None:
        train, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
        self.images = data.images[train].to(device)
        self.labels = data.given[train].to(device)
        self.targets = one_hot(self.labels, len(data.classes)).float()
        self.validation = scaled(data.images[validation].to(device))
        self.validation_labels = data.given[validation].to(device)
        self.probe = None if probe is None else scaled(probe.to(device))
        self.shape = (self.images.shape[1], self.images.shape[2], self.images.shape[3])
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (data.mean, data.std)
        )

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] as networks want them: mean 0 and deviation 1 over the source."""
        return (x - self.mean) / self.std


def scaled(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images / 255
