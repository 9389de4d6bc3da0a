"""A task's data, ready to train on: noise first, then the split."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config import Task, make_noise
from trainables.data.cache import Cached, open_data
from trainables.data.noise import Noise, corrupt
from trainables.data.noise.base import Clean
from trainables.data.sources import NOISY
from trainables.data.split import Indices, cut_out, stratified
from trainables.data.statistics import STATISTICS, Statistics
from trainables.data.strong import Strong
from trainables.data.views import STILL, View
from trainables.errors import ConfigError

# of a task: what `prepare` looks at
DATA_FIELDS = ("data", "per_class", "noise", "split", "statistics", "augment")


@dataclass(frozen=True)
class Dataset:
    """One training source with its given labels and its split.

    Attributes:
        images: (M, C, H, W) uint8, the whole source, mapped from the cache.
        rows: (S,) ascending positions in it of the images that are used.
        given: (S,) int64, the labels trained and validated on.
        clean: (S,) int64, the source's own labels; for diagnostics, no method sees them.
        noise: what was done to the labels.
        train, validation: ascending positions in `rows`.
        trusted: the same of rows whose true label may be seen, none of them among the former.
        mean, std: C numbers each, for normalisation.
        view: how a training image may be moved.
        strong: how it may be changed strongly, whether or not the task moves its images.
        classes: K names.
        address: identity of images and clean labels.
    """

    images: Tensor
    rows: Indices
    given: Tensor
    clean: Tensor
    noise: Noise
    train: Indices
    validation: Indices
    trusted: Indices
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view: View
    strong: Strong
    classes: tuple[str, ...]
    address: str


def prepare(task: Task) -> Dataset:
    """Open a task's source, add its noise over the whole of it, split by the given labels.

    Raises:
        ConfigError: the source cannot be had, or the task asks of it what it does not have.
    """
    cached = open_data(task.data)
    classes = len(cached.classes)
    labels = np.array(cached.labels)
    rows = first_of_each(labels, task.per_class)
    largest = int(np.bincount(labels).max())
    if task.per_class is not None and task.per_class > largest:
        raise ConfigError(
            f"per_class = {task.per_class}: no class of {task.data} has more than {largest} "
            "training images (leave it out to take all)"
        )
    clean = Clean(task.data, labels[rows], classes, cached.images, rows)
    noise = corrupt(clean, make_noise(task.noise), task.noise.seed)
    train, validation = _split(task, cached.validation, rows, noise.labels)
    train, trusted = _trusted(task, train, clean.labels)
    mean, std = _statistics(task, cached)
    return Dataset(
        images=_mapped(cached.images),
        rows=rows,
        given=torch.from_numpy(noise.labels),
        clean=torch.from_numpy(clean.labels),
        noise=noise,
        train=train,
        validation=validation,
        trusted=trusted,
        mean=mean,
        std=std,
        view=cached.view if task.augment else STILL,
        strong=cached.strong,
        classes=cached.classes,
        address=cached.address,
    )


def first_of_each(labels: Indices, count: int | None) -> Indices:
    """Ascending positions of the first `count` rows of each class; of all rows for None.

    >>> first_of_each(np.array([1, 1, 0, 1, 0]), 2).tolist()
    [0, 1, 2, 4]
    """
    if count is None:
        return np.arange(len(labels))
    chosen = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def _split(
    task: Task, own: Indices | None, rows: Indices, given: Indices
) -> tuple[Indices, Indices]:
    share = task.split.validation
    if share == "source":
        if own is None:
            raise ConfigError(
                f"split.validation = source: {task.data} sets no images aside (give a share, "
                "such as 0.1)"
            )
        aside = np.isin(rows, own)
        train, validation = np.flatnonzero(~aside), np.flatnonzero(aside)
    else:
        train, validation = stratified(given, share, task.split.seed, name="validation")
    for part, found in (("training", train), ("validation", validation)):
        if not len(found):
            cure = "choose a share further from its end"
            if share == "source":
                cure = f"give a share, such as 0.1, or a per_class that is not {task.per_class}"
            raise ConfigError(
                f"split.validation = {share}: leaves no {part} image of {len(rows)} ({cure})"
            )
    return train, validation


def _trusted(task: Task, train: Indices, clean: Indices) -> tuple[Indices, Indices]:
    """Cut the trusted set out of the training rows, stratified by the true labels."""
    share = task.split.trusted
    if share is None:
        return train, train[:0]
    place = f"split.trusted = {share}"
    if task.data in NOISY:
        raise ConfigError(f"{place}: nobody knows the true labels of {task.data} (leave it out)")
    rest, trusted = cut_out(train, clean, share, task.split.seed, name="trusted")
    if not len(trusted):
        raise ConfigError(f"{place}: is no image of {len(clean)} (choose a larger share)")
    if not len(rest):
        beside = f"split.validation = {task.split.validation}"
        raise ConfigError(
            f"{place}: leaves no training image of {len(clean)} beside {beside} (choose smaller "
            "shares)"
        )
    return rest, trusted


def _statistics(task: Task, cached: Cached) -> Statistics:
    """What to normalise with; one number stands for all channels."""
    found = STATISTICS[task.statistics]
    if found is None:
        return cached.mean, cached.std
    channels = cached.images.shape[1]
    if len(found[0]) not in (1, channels):
        raise ConfigError(
            f"statistics = {task.statistics}: are of {len(found[0])} channels, {task.data} has "
            f"{channels} (use source)"
        )
    mean, std = (values * channels if len(values) == 1 else values for values in found)
    return mean, std


def probe_images(name: str) -> Tensor:
    """(T, C, H, W) uint8 test images, without labels, for `Loop(probe=...)`."""
    return _mapped(open_data(name).test_images)


def _mapped(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # torch cannot express a read-only tensor; nothing here writes into these
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
