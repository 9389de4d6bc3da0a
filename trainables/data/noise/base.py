"""What a kind of label noise is: labels in, labels out, the same on every machine."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainables.rng import seed_of

Labels = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]  # probabilities of the K given labels, a row each
BLOCK = 4096  # rows at a time, so that memory does not grow with the source


@dataclass(frozen=True)
class Clean:
    """A source, or a part of it, before any noise.

    Attributes:
        data: the source's name.
        labels: (S,) its own labels, 0..classes-1.
        classes: K.
        images: (M, C, H, W) uint8, the whole source, mapped.
        rows: (S,) the positions in it that are used, ascending.
    """

    data: str
    labels: Labels
    classes: int
    images: npt.NDArray[np.uint8]
    rows: Labels

    def uniforms(self, seed: int) -> Uniforms:
        """(2, S) draws from [0, 1): one to flip a label or not, one for what it becomes.

        Raw 64-bit uniforms of a counter-based generator: no library version and no device changes
        them, and a part of a source has the draws that it has in the whole.
        """
        return stream(seed).random((2, len(self.images)))[:, self.rows]


def stream(seed: int, *name: object) -> np.random.Generator:
    """A generator of its own for each use; only its raw uniforms are the same everywhere."""
    return np.random.Generator(np.random.Philox(key=seed_of("noise", seed, *name)))


def drawn(rows: Rows, labels: Labels, uniforms: Uniforms) -> Labels:
    """Given labels by the probabilities of each.

    A label changes when its first draw is below the summed probability of the other classes; its
    second draw chooses among those, counted cyclically from the clean class. So a higher chance of
    a change, shared out in the same way, changes a superset and to the same classes.

    Args:
        rows: (S, K) probabilities of each given label.
        labels: (S,) clean labels.
        uniforms: (2, S) from [0, 1).

    >>> rows = np.array([[0.6, 0.1, 0.3], [0.6, 0.1, 0.3], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    >>> uniforms = np.array([[0.39, 0.41, 0.99, 0.99], [0.26, 0.26, 0.26, 0.26]])
    >>> drawn(rows, np.array([0, 0, 1, 2]), uniforms)
    array([2, 0, 1, 0])
    """
    given = np.empty_like(labels)
    for start in range(0, len(labels), BLOCK):
        part = slice(start, start + BLOCK)
        own = labels[part, None]
        others = (own + np.arange(1, rows.shape[1])) % rows.shape[1]
        # one after the other: a sum by parts would depend on the machine
        total = np.take_along_axis(rows[part], others, axis=1).cumsum(axis=1)
        flip, choice = uniforms[:, part, None]
        change = total[:, -1:]
        # no class lies beyond the one that reaches the whole chance, whatever rounding says
        passed = (total <= choice * change) & (total < change)
        chosen = np.take_along_axis(others, passed.sum(axis=1, keepdims=True), axis=1)
        given[part] = np.where(flip < change, chosen, own)[:, 0]
    return given


class Kind(Protocol):
    """A kind of noise; a frozen dataclass whose fields are its schema, as `noise:` has them."""

    def given(self, clean: Clean, seed: int) -> Labels:
        """The (S,) given labels.

        Raises:
            ConfigError: this source cannot have such noise; names field, value and cure.
        """
        ...
