"""Label noise: a pure function of (labels, images, settings, seed), the same on every machine."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from trainables.data.noise.base import Clean, Kind, Labels
from trainables.data.noise.transitions import NoNoise, Pairflip, Symmetric, SymmetricInclusive

NOISES: dict[str, type[Kind]] = {
    "none": NoNoise,
    "symmetric": Symmetric,
    "symmetric-inclusive": SymmetricInclusive,
    "pairflip": Pairflip,
}


@dataclass(frozen=True)
class Noise:
    """What was done to the labels.

    Attributes:
        labels: (S,) given labels, int64.
        rate: realised share of changed labels.
        transitions: (K, K) counts, row = clean class, column = given class.
        hash: sha256 of the given labels, the identity that every node compares.
    """

    labels: Labels
    rate: float
    transitions: npt.NDArray[np.int64]
    hash: str


def corrupt(clean: Clean, kind: Kind, seed: int) -> Noise:
    """Corrupt a training source.

    Raises:
        ConfigError: the source cannot have such noise.
    """
    given = kind.given(clean, seed)
    transitions = np.zeros((clean.classes, clean.classes), dtype=np.int64)
    np.add.at(transitions, (clean.labels, given), 1)
    return Noise(
        labels=given,
        rate=float((given != clean.labels).mean()),
        transitions=transitions,
        hash=sha256(given.astype("<i8").tobytes()).hexdigest(),
    )
