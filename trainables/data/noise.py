"""Label noise: a pure function of (labels, kind, rate, seed), the same on every machine.

Draws are raw 64-bit uniforms of a counter-based generator, so no library version and no device
changes a label. A higher rate flips a superset of the labels that a lower one flips.

Conventions: `symmetric` excludes the true class (realised rate = rate); `symmetric-inclusive` draws
the new label from all K classes (realised rate = rate (1 - 1/K)); `pairflip` moves class c to c+1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from trainables.rng import seed_of

Labels = npt.NDArray[np.int64]
Uniforms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """What was done to the labels.

    Attributes:
        labels: (M,) given labels, int64.
        rate: realised share of changed labels.
        transitions: (K, K) counts, row = clean class, column = given class.
        hash: sha256 of the given labels, the identity that every node compares.
    """

    labels: Labels
    rate: float
    transitions: npt.NDArray[np.int64]
    hash: str


def symmetric(clean: Labels, classes: int, flip: npt.NDArray[np.bool_], u: Uniforms) -> Labels:
    """Uniform over the other K-1 classes."""
    return np.where(flip, (clean + 1 + (u * (classes - 1)).astype(np.int64)) % classes, clean)


def symmetric_inclusive(
    clean: Labels, classes: int, flip: npt.NDArray[np.bool_], u: Uniforms
) -> Labels:
    """Uniform over all K classes, the true one among them."""
    return np.where(flip, (u * classes).astype(np.int64), clean)


def pairflip(clean: Labels, classes: int, flip: npt.NDArray[np.bool_], u: Uniforms) -> Labels:
    """Class c becomes c+1, the last one 0."""
    return np.where(flip, (clean + 1) % classes, clean)


def none(clean: Labels, classes: int, flip: npt.NDArray[np.bool_], u: Uniforms) -> Labels:
    """The labels as the source has them."""
    return clean.copy()


Kind = Callable[[Labels, int, npt.NDArray[np.bool_], Uniforms], Labels]
NOISES: dict[str, Kind] = {
    "none": none,
    "symmetric": symmetric,
    "symmetric-inclusive": symmetric_inclusive,
    "pairflip": pairflip,
}


def corrupt(clean: Labels, classes: int, kind: str, rate: float, seed: int) -> Noise:
    """Corrupt a whole training source.

    Args:
        clean: (M,) labels in 0..classes-1.
        classes: K.
        kind: a key of NOISES.
        rate: probability that a label is drawn anew, in [0, 1].
        seed: another seed, other flips.

    >>> corrupt(np.arange(4), 4, "pairflip", rate=1.0, seed=0).labels.tolist()
    [1, 2, 3, 0]
    """
    clean = np.asarray(clean, dtype=np.int64)
    draws = np.random.Generator(np.random.Philox(key=seed_of("noise", seed)))
    u = draws.random((2, len(clean)))
    given = NOISES[kind](clean, classes, u[0] < rate, u[1])
    transitions = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(transitions, (clean, given), 1)
    return Noise(
        labels=given,
        rate=float((given != clean).mean()),
        transitions=transitions,
        hash=sha256(given.astype("<i8").tobytes()).hexdigest(),
    )
