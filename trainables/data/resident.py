"""A trial's data on its device: a batch is an index, and nothing is loaded while it trains."""

import torch
from torch import Tensor

from trainables.data.dataset import Dataset


class Resident:
    """The training and validation rows of a data set, where the device can index them.

    On a CPU the images stay in the map that all processes of the machine share; on another device
    they are one copy in its memory.

    Args:
        data: the data set.
        device: where it is to live.
        probe: (P, C, H, W) uint8 images to be looked at after each epoch, if any.

    Attributes:
        labels: (N,) given classes of the training rows.
        targets: (K, K) one-hot rows, by class.
        validation_labels: (V,) given classes.
        probe: (P, C, H, W) uint8, or None.
        shape: C, H, W.
        mean, std: (C, 1, 1), of the task's statistics.
    """

    def __init__(self, data: Dataset, device: torch.device, probe: Tensor | None) -> None:
        rows = torch.from_numpy(data.rows)
        train, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
        if device.type == "cpu":
            self._images = data.images
            self._train, self._validation = rows[train], rows[validation]
        else:
            self._images = data.images[rows].to(device)
            self._train, self._validation = train.to(device), validation.to(device)
        self.labels = data.given[train].to(device)
        self.validation_labels = data.given[validation].to(device)
        self.targets = torch.eye(len(data.classes), device=device)
        self.probe = None if probe is None else probe.to(device)
        self.shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (data.mean, data.std)
        )

    def training(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of the training rows `index` (B,)."""
        return self._images.index_select(0, self._train.index_select(0, index))

    def validation(self, part: slice) -> Tensor:
        """(B, C, H, W) uint8 images of a range of validation rows."""
        return self._images.index_select(0, self._validation[part])

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] as networks want them: mean 0 and deviation 1 over the source."""
        return (x - self.mean) / self.std


def scaled(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images / 255
