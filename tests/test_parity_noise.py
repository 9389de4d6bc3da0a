"""Label noise against what the authors' code computed (tests/oracle/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from trainables.config import build
from trainables.data.noise import NOISES, corrupt
from trainables.data.noise.asymmetric import Asymmetric, moving
from trainables.data.noise.base import Clean
from trainables.data.noise.instance import Scaling, chances, probabilities
from trainables.data.noise.transitions import pairflip, symmetric, tridiagonal

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "noise.npz"))
LABELS = ORACLE["y_clean"].astype(np.int64)
SIZES = np.bincount(LABELS)
RATES = {"0p2": 0.2, "0p4": 0.4, "0p7": 0.7}
FIVE = 5  # standard deviations


def asymmetric(data: str, classes: int, rate: float, **options: str) -> np.ndarray:
    return moving(classes, build(Asymmetric, options).moves(data), rate)


MATRICES = {
    "cdr_symmetric": lambda rate: symmetric(10, rate),
    "cdr_pairflip": lambda rate: pairflip(10, rate),
    "cdr_tridiagonal": lambda rate: tridiagonal(10, rate),
    "cdr_asym_mnist": lambda rate: asymmetric("mnist", 10, rate),
    "cdr_asym_fmnist": lambda rate: asymmetric("fashion-mnist", 10, rate),
    "cdr_asym_cifar100": lambda rate: asymmetric("cifar100", 100, rate, blocks="ids"),
    "rst_asym_cifar100": lambda rate: asymmetric("cifar100", 100, rate),
}
DRAWS = {  # which of our kinds and sources theirs is
    "cdr_symmetric": ("symmetric", "toy"),
    "rst_symmetric": ("symmetric", "toy"),
    "cdr_pairflip": ("pairflip", "toy"),
    "cdr_tridiagonal": ("tridiagonal", "toy"),
    "cdr_asym_mnist": ("asymmetric", "mnist"),
    "cdr_asym_fmnist": ("asymmetric", "fashion-mnist"),
}


def draw(kind: str, data: str, rate: float, labels: np.ndarray = LABELS) -> np.ndarray:
    """Our transition counts for their clean labels."""
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    clean = Clean(data, labels, 10, images, np.arange(len(labels)))
    return corrupt(clean, build(NOISES[kind], {"rate": rate}), 1).transitions


def agree(counts: np.ndarray, matrix: np.ndarray, times: int = 1) -> None:
    """Counts are a draw from the matrix, of their clean labels repeated so many times."""
    sizes = times * SIZES[:, None]
    deviation = np.sqrt(sizes * matrix * (1 - matrix))
    assert (np.abs(counts - sizes * matrix) <= FIVE * deviation + 1e-9).all()


@pytest.mark.parametrize("written", RATES)
@pytest.mark.parametrize("name", MATRICES)
def test_transition_matrices(name: str, written: str) -> None:
    ours = MATRICES[name](RATES[written])
    np.testing.assert_allclose(ours, ORACLE[f"{name}_{written}_P"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("written", RATES)
@pytest.mark.parametrize("name", DRAWS)
def test_counts_of_both_are_draws_from_the_matrix(name: str, written: str) -> None:
    rate = RATES[written]
    matrix = MATRICES[name.replace("rst", "cdr")](rate)
    agree(ORACLE[f"{name}_{written}_counts"], matrix)
    agree(draw(*DRAWS[name], rate), matrix)


@pytest.mark.parametrize("written", RATES)
@pytest.mark.parametrize("code", ["cdr", "rst"])
def test_cats_and_dogs_do_not_return_as_theirs_do(code: str, written: str) -> None:
    rate, cat, dog = RATES[written], 3, 5
    theirs = ORACLE[f"{code}_asym_cifar10_{written}_counts_mean"]
    assert theirs[cat, dog] / SIZES[cat] == pytest.approx(rate * (1 - rate), abs=0.02)
    ours = draw("asymmetric", "cifar10", rate, np.tile(LABELS, 20))
    agree(ours, moving(10, {9: 1, 2: 0, 4: 7, cat: dog, dog: cat}, rate), times=20)
    # cats that stay dogs: theirs, the mean of 40 draws, lies far from ours
    assert ours[cat, dog] / 20 - theirs[cat, dog] > 0.5 * rate**2 * SIZES[cat]
    for source, target in ((9, 1), (2, 0), (4, 7)):  # no leak can reach these
        assert abs(theirs[source, target] - rate * SIZES[source]) <= 1


CASES = ["0p2", "0p4", "0p7", "0p4_unit", "0p4_small"]


@pytest.mark.parametrize("case", CASES)
def test_instance_probabilities(case: str) -> None:
    written = case[:3]
    rows = ORACLE["instance_rows"]
    factor = float(ORACLE.get(f"instance_{case}_scale", 1.0))
    found = probabilities(
        ORACLE["images_of_rows"],
        np.arange(len(rows)),
        LABELS[rows],
        ORACLE[f"instance_{written}_q"][rows].astype(np.float64),
        ORACLE["instance_W"].__getitem__,
        Scaling(np.zeros(3), np.full(3, factor)),
    )
    np.testing.assert_allclose(found, ORACLE[f"instance_{case}_P_rows"], atol=5e-6)
    if case == written:
        found[np.arange(len(rows)), LABELS[rows]] = 0
        np.testing.assert_array_equal(
            found.argmax(1), ORACLE[f"instance_{written}_top_wrong"][rows]
        )


@pytest.mark.parametrize("written", RATES)
def test_instance_chances_have_the_law_of_theirs(written: str) -> None:
    theirs = ORACLE[f"instance_{written}_q"]
    size = len(theirs)
    ours = chances(RATES[written], (np.arange(100_000) + 0.5) / 100_000)
    mean, deviation, _, _ = ORACLE[f"instance_{written}_q_mean_sd_min_max"]
    assert abs(ours.mean() - mean) < FIVE * deviation / np.sqrt(size)
    assert abs(ours.std() - deviation) < FIVE * deviation / np.sqrt(2 * size)
    for tenth, decile in enumerate(ORACLE[f"instance_{written}_q_deciles"], start=1):
        share = (ours < decile).mean()  # of ours that lies below their decile
        assert abs(share - tenth / 10) < FIVE * np.sqrt(tenth / 10 * (1 - tenth / 10) / size)
