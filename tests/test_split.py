"""Splits: stratified, whole, a function of their seed and name."""

import numpy as np
import pytest

from trainables.data.split import stratified

CLEAN = np.arange(200) % 10


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
def test_splits_share_every_class_and_lose_nothing(share: float) -> None:
    labels = np.repeat([0, 3, 4, 7], [10, 101, 57, 1])
    first, second = stratified(labels, share, seed=0, name="x")
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert len(second) == round(share * len(labels))
    for label in np.unique(labels):
        size = (labels == label).sum()
        assert abs((labels[second] == label).sum() - share * size) < 1
    for part in (first, second):
        assert (np.diff(part) > 0).all()


def test_a_split_follows_seed_and_name() -> None:
    drawn = {
        tuple(stratified(CLEAN[:200], 0.25, seed, name)[1])
        for seed in (0, 1)
        for name in ("a", "b")
        for _ in range(2)
    }
    assert len(drawn) == 4


def test_every_row_is_as_likely_to_be_chosen() -> None:
    counts = np.zeros(20)
    for seed in range(1000):
        counts[stratified(CLEAN[:20], 0.5, seed, "x")[1]] += 1
    assert (np.abs(counts - 500) < 4 * np.sqrt(250)).all()
