"""Label noise: realised transitions, and the same labels everywhere."""

import hashlib
from typing import Any

import numpy as np
import pytest
from toys import corrupted, run_python

from trainables.data.noise import NOISES
from trainables.data.split import stratified

K = 10
CLEAN = np.arange(20_000) % K


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("symmetric", lambda rate: [1 - rate] + [rate / (K - 1)] * (K - 1)),
        (
            "symmetric-inclusive",
            lambda rate: [1 - rate + rate / K] + [rate / K] * (K - 1),
        ),
        ("pairflip", lambda rate: [1 - rate, rate] + [0] * (K - 2)),
        ("none", lambda rate: [1] + [0] * (K - 1)),
    ],
)
def test_realised_transitions(kind: str, row: Any, rate: float) -> None:
    noise = corrupted(CLEAN, kind, rate, 1)
    # row c of the matrix, turned so that the clean class stands first
    expected = np.array(row(rate))
    turned = np.stack([np.roll(counts, -c) for c, counts in enumerate(noise.transitions)])
    size = len(CLEAN) // K
    deviation = np.sqrt(expected * (1 - expected) / size)
    assert (turned.sum(1) == size).all()
    assert (np.abs(turned / size - expected) <= 4 * deviation).all()
    flipped = 1 - expected[0]
    deviation = np.sqrt(flipped * (1 - flipped) / len(CLEAN))
    assert abs(noise.rate - flipped) <= 4 * deviation
    assert noise.rate == (noise.labels != CLEAN).mean()
    assert noise.labels.dtype == np.int64


def test_the_numbers_told_are_those_of_the_labels() -> None:
    noise = corrupted(CLEAN, "symmetric", 0.4, 0)
    for clean, given in ((0, 0), (3, 7), (9, 1)):
        count = ((clean == CLEAN) & (noise.labels == given)).sum()
        assert noise.transitions[clean, given] == count
    assert noise.hash == hashlib.sha256(noise.labels.astype("<i8").tobytes()).hexdigest()


def test_pairflip_moves_each_class_by_one() -> None:
    noise = corrupted(CLEAN, "pairflip", 0.5, 0)
    moved = noise.labels != CLEAN
    np.testing.assert_array_equal(noise.labels[moved], (CLEAN[moved] + 1) % K)


@pytest.mark.parametrize("kind", NOISES)
def test_a_higher_rate_flips_more_of_the_same(kind: str) -> None:
    low, high = (corrupted(CLEAN, kind, rate, 3).labels for rate in (0.2, 0.5))
    moved = low != CLEAN
    np.testing.assert_array_equal(low[moved], high[moved])


@pytest.mark.parametrize("kind", ["symmetric", "symmetric-inclusive", "pairflip"])
def test_another_seed_flips_others(kind: str) -> None:
    first, again, other = (corrupted(CLEAN, kind, 0.4, seed).labels for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 0.4 < ((first != CLEAN) != (other != CLEAN)).mean() < 0.6  # 2 .4 .6 of independent flips


def test_corrupting_leaves_the_clean_labels_alone() -> None:
    clean = CLEAN.copy()
    for kind in NOISES:
        noise = corrupted(clean, kind, 0.5, 0)
        noise.labels[:] = -1
        np.testing.assert_array_equal(clean, CLEAN)


GOLDEN = {
    "symmetric": "eab0d0b69e514f23406cef6ffa0642855bb827d488b056c9ca6c045a21cbdfe1",
    "symmetric-inclusive": "164a1d62e3f487d2882b00b0007ca327858ab626e7f1a3bdff52cb67c3b03c22",
    "pairflip": "4ef00c514f2742e2a8d9ab8e5f9a9650bc841a8fc746cd97018735dccbcb9f62",
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_labels_are_the_same_on_every_machine(kind: str) -> None:
    assert corrupted(CLEAN, kind, 0.4, 0).hash == GOLDEN[kind]


def test_labels_and_splits_are_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from toys import corrupted\n"
        "from trainables.data.split import stratified\n"
        "noise = corrupted(np.arange(20_000) % 10, 'symmetric', 0.4, 0)\n"
        "print(noise.hash, stratified(noise.labels, 0.1, 0, 'x')[1].sum())"
    )
    here = corrupted(CLEAN, "symmetric", 0.4, 0)
    expected = f"{here.hash} {stratified(here.labels, 0.1, 0, 'x')[1].sum()}\n"
    for seed in ("1", "2"):
        out, err = run_python(code, PYTHONHASHSEED=seed).communicate(timeout=60)
        assert out == expected, err
