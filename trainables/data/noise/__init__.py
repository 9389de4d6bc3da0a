"""Label noise: a pure function of (labels, images, settings, seed), the same on every machine."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from trainables.data.noise.asymmetric import Asymmetric
from trainables.data.noise.base import Clean, Kind, Labels
from trainables.data.noise.files import File, Human
from trainables.data.noise.instance import Instance
from trainables.data.noise.matrix import Matrix
from trainables.data.noise.transitions import (
    NoNoise,
    Pairflip,
    Symmetric,
    SymmetricInclusive,
    Tridiagonal,
)
from trainables.data.sources import NOISY
from trainables.errors import ConfigError

NOISES: dict[str, type[Kind]] = {
    "none": NoNoise,
    "symmetric": Symmetric,
    "symmetric-inclusive": SymmetricInclusive,
    "pairflip": Pairflip,
    "tridiagonal": Tridiagonal,
    "asymmetric": Asymmetric,
    "matrix": Matrix,
    "instance": Instance,
    "human": Human,
    "file": File,
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
    if clean.data in NOISY and not isinstance(kind, NoNoise):
        name = next(name for name, cls in NOISES.items() if isinstance(kind, cls))
        raise ConfigError(
            f"noise.kind = {name}: the labels of {clean.data} are noisy as they are (take none)"
        )
    given = kind.given(clean, seed)
    transitions = np.zeros((clean.classes, clean.classes), dtype=np.int64)
    np.add.at(transitions, (clean.labels, given), 1)
    return Noise(
        labels=given,
        rate=float((given != clean.labels).mean()),
        transitions=transitions,
        hash=sha256(given.astype("<i8").tobytes()).hexdigest(),
    )
