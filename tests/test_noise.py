"""Label noise: realised transitions, and the same labels everywhere."""

import hashlib
from typing import Any

import numpy as np
import pytest
from toys import corrupted, run_python

from trainables.config import build
from trainables.data.noise import NOISES, Noise, corrupt
from trainables.data.noise.base import Clean, drawn
from trainables.data.split import stratified

K = 10
CLEAN = np.arange(20_000) % K
ROWS = [[0.7, *[0.0] * 4, 0.1, *[0.0] * 3, 0.2], *np.eye(K)[1:].tolist()]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # and how a test calls them
    "symmetric": ("symmetric", {}),
    "symmetric-inclusive": ("symmetric-inclusive", {}),
    "pairflip": ("pairflip", {}),
    "tridiagonal": ("tridiagonal", {}),
    "asymmetric": ("asymmetric", {}),
    "matrix": ("matrix", {"matrix": ROWS}),
    "instance": ("instance", {}),
    "instance, unit": ("instance", {"scale": "unit"}),
    "instance, standardised": ("instance", {"scale": "standardised"}),
}
RATED = [name for name in KINDS if name != "matrix"]


def made(name: str, rate: float = 0.4, seed: int = 0, rows: Any = None) -> Noise:
    """The labels of 20,000 generated pictures called cifar10, or of some rows of them."""
    kind, options = KINDS[name]
    options = options if name == "matrix" else {**options, "rate": rate}
    labels = CLEAN if rows is None else CLEAN[rows]
    rows = np.arange(len(CLEAN)) if rows is None else rows
    grey = np.random.Generator(np.random.Philox(key=0)).random((len(CLEAN), 3, 3, 4))
    images = np.floor(grey * 255).astype(np.uint8)
    clean = Clean("cifar10", labels, K, images, rows)
    return corrupt(clean, build(NOISES[kind], options), seed)


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
        ("tridiagonal", lambda rate: [1 - rate, rate / 2] + [0] * (K - 3) + [rate / 2]),
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


def test_draws_at_the_ends_never_choose_what_has_no_chance() -> None:
    last = 1 - 2.0**-53
    rows = np.array([[0.9, 0.1, 0.0], [0.0, 0.3, 0.7], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]])
    labels = np.array([0, 1, 2, 1])
    for choice, expected in ((0.0, [1, 2, 2, 2]), (last, [1, 2, 2, 0])):
        uniforms = np.array([[0.0] * 4, [choice] * 4])
        np.testing.assert_array_equal(drawn(rows, labels, uniforms), expected)
    unmoved = np.array([[0.1, 0.7, 0.0, last], [last] * 4])
    np.testing.assert_array_equal(drawn(rows, labels, unmoved), [0, 1, 2, 0])


@pytest.mark.parametrize("name", RATED)
def test_a_higher_rate_flips_more_of_the_same(name: str) -> None:
    low, high = (made(name, rate, seed=3).labels for rate in (0.2, 0.5))
    moved = low != CLEAN
    assert moved.any()
    np.testing.assert_array_equal(low[moved], high[moved])
    assert (high != CLEAN).sum() > moved.sum()


@pytest.mark.parametrize("name", KINDS)
def test_another_seed_flips_others(name: str) -> None:
    first, again, other = (made(name, seed=seed) for seed in (0, 0, 1))
    assert first.hash == again.hash
    share = np.diag(first.transitions) / first.transitions.sum(1)
    expected = 2 * (share * (1 - share)).mean()  # of independent flips
    apart = ((first.labels != CLEAN) != (other.labels != CLEAN)).mean()
    assert apart == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("name", KINDS)
def test_a_part_has_the_labels_that_it_has_in_the_whole(name: str) -> None:
    rows = np.flatnonzero(np.arange(len(CLEAN)) % 7 < 2)
    np.testing.assert_array_equal(made(name, rows=rows).labels, made(name).labels[rows])


@pytest.mark.parametrize("name", KINDS)
def test_corrupting_leaves_the_clean_labels_alone(name: str) -> None:
    before = CLEAN.copy()
    made(name).labels[:] = -1
    np.testing.assert_array_equal(CLEAN, before)


def test_no_noise_is_a_copy() -> None:
    noise = corrupted(CLEAN, "none", 0.4, 0)
    np.testing.assert_array_equal(noise.labels, CLEAN)
    assert not np.shares_memory(noise.labels, CLEAN)


GOLDEN = {
    "symmetric": "eab0d0b69e514f23406cef6ffa0642855bb827d488b056c9ca6c045a21cbdfe1",
    "symmetric-inclusive": "164a1d62e3f487d2882b00b0007ca327858ab626e7f1a3bdff52cb67c3b03c22",
    "pairflip": "4ef00c514f2742e2a8d9ab8e5f9a9650bc841a8fc746cd97018735dccbcb9f62",
    "tridiagonal": "b05f9911ea7354a31eed95b70c5381b218f9af25417419f80797390439827096",
    "asymmetric": "365c52d207fc97794ac1735007debed0c99feb2b118a522aab773ba033134435",
    "matrix": "fc753d2e0fb24c5350702ed39044d1aaf4c99030aaf33f4dca399d91f670731c",
    "instance": "164daa2961141b73f6c810706ba16f7587ba3fde461deed3795b973dcd552dea",
    "instance, unit": "6283f1eb1f29178aeeb8290cfd4aad260e9b1e8c5183b0f27b63c43d16e3aac5",
    "instance, standardised": "813160903ca379ade22bafdd19d90a749970e7f9e543508dc6b3e9c80a171991",
}


def test_every_kind_that_draws_has_its_labels_pinned() -> None:
    assert set(GOLDEN) == set(KINDS)
    assert {kind for kind, _ in KINDS.values()} == set(NOISES) - {"none", "human", "file"}


@pytest.mark.parametrize("name", GOLDEN)
def test_labels_are_the_same_on_every_machine(name: str) -> None:
    assert made(name).hash == GOLDEN[name]


def test_labels_and_splits_are_the_same_in_another_process_and_order() -> None:
    code = (
        "from test_noise import GOLDEN, made\n"
        "from trainables.data.split import stratified\n"
        "hashes = {name: made(name).hash for name in reversed(GOLDEN)}\n"
        "print(stratified(made('symmetric').labels, 0.1, 0, 'x')[1].sum(), hashes == GOLDEN)"
    )
    expected = f"{stratified(made('symmetric').labels, 0.1, 0, 'x')[1].sum()} True\n"
    for seed in ("1", "2"):
        process = run_python(code, PYTHONHASHSEED=seed, OMP_NUM_THREADS=seed)
        out, err = process.communicate(timeout=100)
        assert out == expected, err
