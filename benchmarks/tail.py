"""A long-tailed digits data set: what MR's authors say their method is weak on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.homes import own_home
from trainables.data.cache import open_data
from trainables.data.sources import SOURCES
from trainables.data.sources.base import Source

RATIO = 10.0  # of the largest class's size over the smallest's


def sizes(largest: int, ratio: float, classes: int) -> list[int]:
    """How many rows each class keeps: exponentially fewer from class to class.

    >>> sizes(100, 10.0, 3)
    [100, 32, 10]
    """
    shares = ratio ** (-np.arange(classes) / (classes - 1))
    return [round(float(largest * share)) for share in shares]


def tailed(source: Source, ratio: float) -> Source:
    """The source with fewer training images from class to class; the test part stays as it is.

    A class that has fewer images than its place asks for keeps all of them.
    """
    kept = []
    largest = int(np.bincount(source.labels).max())
    for label, size in enumerate(sizes(largest, ratio, len(source.classes))):
        rows = np.flatnonzero(source.labels == label)
        draws = np.random.default_rng(label)  # the first rows are by a few writers only
        kept.append(draws.permutation(rows)[:size])
    rows = np.sort(np.concatenate(kept))
    return replace(source, images=source.images[rows], labels=source.labels[rows])


@contextmanager
def tailed_home() -> Iterator[None]:
    """A data cache whose digits are long-tailed, also for processes started inside."""
    with own_home():
        whole = SOURCES["digits"]
        SOURCES["digits"] = partial(_tailed, whole)
        try:
            open_data("digits")  # from now on the entry is read, not the source
        finally:
            SOURCES["digits"] = whole
        yield


def _tailed(whole: Callable[[], Source]) -> Source:
    return tailed(whole(), RATIO)
