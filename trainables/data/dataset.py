"""A task's data, ready to train on: noise first, then the split."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config import Task
from trainables.data.cache import open_data
from trainables.data.noise import Noise, corrupt
from trainables.data.split import Indices, stratified
from trainables.errors import ConfigError


@dataclass(frozen=True)
class Dataset:
    """One training source with its given labels and its split.

    Attributes:
        images: (M, C, H, W) uint8, the whole source, mapped from the cache.
        given: (M,) int64, the labels trained and validated on.
        clean: (M,) int64, the source's own labels; for diagnostics, no method sees them.
        noise: what was done to the labels.
        train, validation: ascending positions in the source.
        mean, std: C numbers each, for normalisation.
        shift: pixels a training view may move.
        classes: K names.
        address: identity of images and clean labels.
    """

    images: Tensor
    given: Tensor
    clean: Tensor
    noise: Noise
    train: Indices
    validation: Indices
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: int
    classes: tuple[str, ...]
    address: str


def prepare(task: Task) -> Dataset:
    """Open a task's source, add its noise over the whole of it, split by the given labels."""
    cached = open_data(task.data)
    noise = corrupt(
        cached.labels, len(cached.classes), task.noise.kind, task.noise.rate, task.noise.seed
    )
    train, validation = stratified(
        noise.labels, task.split.validation, task.split.seed, name="validation"
    )
    for part, rows in (("training", train), ("validation", validation)):
        if not len(rows):
            raise ConfigError(
                f"split.validation = {task.split.validation}: leaves no {part} image of "
                f"{len(noise.labels)} (choose a share further from its end)"
            )
    return Dataset(
        images=_mapped(cached.images),
        given=torch.from_numpy(noise.labels),
        clean=torch.from_numpy(np.array(cached.labels)),
        noise=noise,
        train=train,
        validation=validation,
        mean=cached.mean,
        std=cached.std,
        shift=cached.shift if task.augment else 0,
        classes=cached.classes,
        address=cached.address,
    )


def probe_images(name: str) -> Tensor:
    """(T, C, H, W) uint8 test images, without labels, for `Loop(probe=...)`."""
    return _mapped(open_data(name).test_images)


def _mapped(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # torch cannot express a read-only tensor; nothing here writes into these
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
