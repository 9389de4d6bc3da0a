"""What a kind of label noise is: labels in, labels out, the same on every machine."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainables.rng import seed_of

Labels = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float64]


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
        draws = np.random.Generator(np.random.Philox(key=seed_of("noise", seed)))
        return draws.random((2, len(self.images)))[:, self.rows]


class Kind(Protocol):
    """A kind of noise; a frozen dataclass whose fields are its schema, as `noise:` has them."""

    def given(self, clean: Clean, seed: int) -> Labels:
        """The (S,) given labels.

        Raises:
            ConfigError: this source cannot have such noise; names field, value and cure.
        """
        ...
