"""Noise that looks at nothing but the class: a higher rate flips a superset of what a lower flips.

Conventions: `symmetric` excludes the true class (realised rate = rate); `symmetric-inclusive` draws
the new label from all K classes (realised rate = rate (1 - 1/K)); `pairflip` moves class c to c+1.
"""

from dataclasses import dataclass

import numpy as np

from trainables.bounds import Unit
from trainables.data.noise.base import Clean, Labels


@dataclass(frozen=True)
class NoNoise:
    """The labels as the source has them."""

    def given(self, clean: Clean, seed: int) -> Labels:
        return clean.labels.copy()


@dataclass(frozen=True)
class Symmetric:
    """Uniform over the other K-1 classes."""

    rate: Unit = 0.4

    def given(self, clean: Clean, seed: int) -> Labels:
        flip, u = clean.uniforms(seed)
        other = (clean.labels + 1 + (u * (clean.classes - 1)).astype(np.int64)) % clean.classes
        return np.where(flip < self.rate, other, clean.labels)


@dataclass(frozen=True)
class SymmetricInclusive:
    """Uniform over all K classes, the true one among them."""

    rate: Unit = 0.4

    def given(self, clean: Clean, seed: int) -> Labels:
        flip, u = clean.uniforms(seed)
        return np.where(flip < self.rate, (u * clean.classes).astype(np.int64), clean.labels)


@dataclass(frozen=True)
class Pairflip:
    """Class c becomes c+1, the last one 0."""

    rate: Unit = 0.4

    def given(self, clean: Clean, seed: int) -> Labels:
        flip, _ = clean.uniforms(seed)
        return np.where(flip < self.rate, (clean.labels + 1) % clean.classes, clean.labels)
