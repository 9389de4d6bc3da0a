"""A trial's data on its device: a batch is an index, and nothing is loaded while it trains."""

import torch
from torch import Tensor

from trainables.data.ahead import Ahead
from trainables.data.dataset import Dataset

SHARE = 0.5  # of a device's free memory that images may take


class Resident:
    """The training, validation and trusted rows of a data set, where the device can index them.

    On a CPU the images stay in the map that all processes of the machine share; on another device
    they are one copy in its memory. Where that is too small, they stay in the map, too, and one
    thread gathers and copies batches ahead of the training.

    Args:
        data: the data set.
        device: where it is to live.
        probe: (P, C, H, W) uint8 images to be looked at after each epoch, if any.

    Attributes:
        labels: (N,) given classes of the training rows.
        targets: (K, K) one-hot rows, by class.
        validation_labels: (V,) given classes.
        trusted_labels: (T,) true classes; T = 0 without a trusted set.
        probe: (P, C, H, W) uint8, or None.
        shape: C, H, W.
    """

    def __init__(self, data: Dataset, device: torch.device, probe: Tensor | None) -> None:
        rows = torch.from_numpy(data.rows)
        train, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
        trusted = torch.from_numpy(data.trusted)
        self.device = device
        self._ahead: Ahead | None = None
        parts = (train, validation, trusted)
        fit = data.images[0].nbytes * len(rows)
        if device.type != "cpu" and fit <= SHARE * free_bytes(device):
            self._images = data.images[rows].to(device)
            self._train, self._validation, self._trusted = (part.to(device) for part in parts)
        else:
            self._images = data.images
            self._train, self._validation, self._trusted = (rows[part] for part in parts)
            if device.type != "cpu":
                self._ahead = Ahead(data.images, self._train, device)
        self.labels = data.given[train].to(device)
        self.validation_labels = data.given[validation].to(device)
        self.trusted_labels = data.clean[trusted].to(device)
        self.targets = torch.eye(len(data.classes), device=device)
        self.probe = None if probe is None else probe.to(device)
        self.shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
        mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
        self._scale, self._offset = (1 / std).to(device), (-mean / std).to(device)

    def plan(self, parts: list[Tensor]) -> None:
        """Say which batches of training rows come next, in order; each a (B,) index."""
        if self._ahead is not None:
            self._ahead.plan(parts)

    def training(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of the training rows `index` (B,)."""
        if self._ahead is not None:
            return self._ahead.take(index)
        return self._images.index_select(0, self._train.index_select(0, index))

    def validation(self, part: slice) -> Tensor:
        """(B, C, H, W) uint8 images of a range of validation rows."""
        return self._images.index_select(0, self._validation[part]).to(self.device)

    def trusted(self, part: slice) -> Tensor:
        """(B, C, H, W) uint8 images of a range of trusted rows."""
        return self._images.index_select(0, self._trusted[part]).to(self.device)

    def close(self) -> None:
        """Let go of what outlives the object."""
        if self._ahead is not None:
            self._ahead.close()

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] as networks want them: less the mean, over the deviation."""
        return torch.addcmul(self._offset, x, self._scale)


def scaled(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images / 255


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nobody uses."""
    return torch.cuda.mem_get_info(device)[0]
