"""Stratified splits as sorted index lists: data is never gathered into copies."""

import numpy as np
import numpy.typing as npt

from trainables.rng import seed_of

Indices = npt.NDArray[np.int64]


def stratified(labels: Indices, share: float, seed: int, name: str) -> tuple[Indices, Indices]:
    """Split 0..M-1 in two, each class in proportion.

    Every class gives floor(share * its size) rows to the second part; what is then missing of
    round(share * M) comes from the classes with the largest remainders (ties: the lower class).

    Args:
        labels: (M,) the classes to stratify by; for noisy data the given ones.
        share: of the second part, in [0, 1].
        seed: another seed, another split.
        name: what is split, so that two splits of one seed are independent.

    Returns:
        The two parts, each ascending.

    >>> first, second = stratified(np.array([0, 0, 0, 0, 1, 1]), 0.5, seed=0, name="example")
    >>> len(first), len(second), int((second > 3).sum())
    (3, 3, 1)
    """
    draws = np.random.Generator(np.random.Philox(key=seed_of("split", name, seed)))
    priority = draws.random(len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    wanted = share * sizes
    take = np.floor(wanted).astype(np.int64)
    missing = round(share * len(labels)) - int(take.sum())
    take[np.argsort(take - wanted, kind="stable")[:missing]] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes, take, strict=True):
        rows = np.flatnonzero(labels == label)
        chosen[rows[np.argsort(priority[rows], kind="stable")[:count]]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def cut_out(
    part: Indices, labels: Indices, share: float, seed: int, name: str
) -> tuple[Indices, Indices]:
    """Split some of 0..M-1 in two, as `stratified` does; the share is one of all M.

    Args:
        part: (P,) ascending, what is split.
        labels: (M,) the classes to stratify by.
        share: of the second part, in [0, 1]; more than there is takes all of `part`.
        seed: another seed, another split.
        name: what is split.

    Returns:
        The two parts, each ascending.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> rest, cut = cut_out(np.array([0, 1, 4, 5, 6, 7]), labels, 0.375, seed=0, name="example")
    >>> len(rest), np.bincount(labels[cut]).tolist()
    (3, [1, 2])
    """
    own = min(1.0, share * len(labels) / len(part))
    rest, cut = stratified(labels[part], own, seed, name)
    return part[rest], part[cut]
