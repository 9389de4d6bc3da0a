"""Noise that looks at nothing but the class: a higher rate flips a superset of what a lower flips.

Each kind but one is its matrix of transitions: row = clean class, column = given class.

Conventions: `symmetric` excludes the true class (realised rate = rate); `symmetric-inclusive` draws
the new label from all K classes (realised rate = rate (1 - 1/K)); `pairflip` moves class c to c+1;
`tridiagonal` to c-1 or c+1. The last class and the first are neighbours.
"""

from dataclasses import dataclass

import numpy as np

from trainables.bounds import Unit
from trainables.data.noise.base import Clean, Labels, Rows, drawn


def symmetric(classes: int, rate: float) -> Rows:
    """
    >>> symmetric(3, 0.5)
    array([[0.5 , 0.25, 0.25],
           [0.25, 0.5 , 0.25],
           [0.25, 0.25, 0.5 ]])
    """
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def pairflip(classes: int, rate: float) -> Rows:
    """
    >>> pairflip(3, 0.25)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.75, 0.25],
           [0.25, 0.  , 0.75]])
    """
    same = np.eye(classes)
    return (1 - rate) * same + rate * np.roll(same, 1, axis=1)


def tridiagonal(classes: int, rate: float) -> Rows:
    """
    >>> tridiagonal(4, 0.5)
    array([[0.5 , 0.25, 0.  , 0.25],
           [0.25, 0.5 , 0.25, 0.  ],
           [0.  , 0.25, 0.5 , 0.25],
           [0.25, 0.  , 0.25, 0.5 ]])
    """
    same = np.eye(classes)
    return (1 - rate) * same + rate / 2 * (np.roll(same, 1, axis=1) + np.roll(same, -1, axis=1))


def by_class(clean: Clean, seed: int, matrix: Rows) -> Labels:
    """(S,) given labels by a (K, K) matrix."""
    return drawn(matrix[clean.labels], clean.labels, clean.uniforms(seed))


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
        return by_class(clean, seed, symmetric(clean.classes, self.rate))


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
        return by_class(clean, seed, pairflip(clean.classes, self.rate))


@dataclass(frozen=True)
class Tridiagonal:
    """Half to the class before, half to the class after; CDR's and T-revision's name for it."""

    rate: Unit = 0.4

    def given(self, clean: Clean, seed: int) -> Labels:
        return by_class(clean, seed, tridiagonal(clean.classes, self.rate))
