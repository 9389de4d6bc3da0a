"""A data cache of a benchmark's own, with random images in place of data sets where asked."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from trainables.data.sources import SOURCES
from trainables.data.sources.base import Source
from trainables.data.strong import Strong
from trainables.data.views import View


def random_source(shape: tuple[int, int, int], count: int, view: View, strong: Strong) -> Source:
    """`count` random images (C, H, W) of ten classes."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = draws.integers(0, 10, count)
    classes = tuple("0123456789")
    return Source(images, labels, images[:100], labels[:100], classes, view, strong)


GREY, COLOUR = View(pixels=2), View(pixels=4, flip=True)
STAND_INS: dict[str, Callable[[], Source]] = {
    "mnist": partial(random_source, (1, 28, 28), 60_000, GREY, Strong(GREY, degrees=15, cutout=8)),
    "cifar10": partial(random_source, (3, 32, 32), 50_000, COLOUR, Strong(COLOUR, True, cutout=16)),
}


@contextmanager
def own_home(random: bool = False) -> Iterator[str]:
    """A fresh data cache; with `random`, random images stand in for the sets of STAND_INS.

    Processes started inside share the cache. What must not be random in them has to be opened here
    first, and the other way round: they read an entry that is there, whatever made it.
    """
    before, real = os.environ.get("NOISETUNE_HOME"), {name: SOURCES[name] for name in STAND_INS}
    with tempfile.TemporaryDirectory(prefix="nt") as folder:
        os.environ["NOISETUNE_HOME"] = folder
        SOURCES.update(STAND_INS if random else {})
        try:
            yield folder
        finally:
            SOURCES.update(real)
            os.environ.pop("NOISETUNE_HOME")
            if before is not None:
                os.environ["NOISETUNE_HOME"] = before
