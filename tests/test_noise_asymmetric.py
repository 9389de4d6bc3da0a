"""Asymmetric noise: whose classes move where, and who is refused."""

from typing import Any

import numpy as np
import pytest

from trainables.config import Config, build
from trainables.data.noise import corrupt
from trainables.data.noise.asymmetric import MAPS, SUPERCLASSES, Asymmetric
from trainables.data.noise.base import Clean
from trainables.data.sources import SOURCES
from trainables.errors import ConfigError

EACH = 1000  # images of a class


def transitions(data: str, classes: int, **options: Any) -> np.ndarray:
    """Shares of each class's given labels."""
    labels = np.arange(EACH * classes) % classes
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    clean = Clean(data, labels, classes, images, np.arange(len(labels)))
    return corrupt(clean, build(Asymmetric, options), 0).transitions / EACH


def expected(classes: int, moves: dict[int, int], rate: float) -> np.ndarray:
    matrix = np.eye(classes)
    for source, target in moves.items():
        matrix[source, source], matrix[source, target] = 1 - rate, rate
    return matrix


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("data", "moves"),
    [
        ("mnist", {2: 7, 3: 8, 5: 6, 6: 5}),
        ("fashion-mnist", {0: 6, 2: 4, 5: 7, 7: 5}),
        ("cifar10", {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
        ("cifair10", {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
        ("cifair10-gem2", {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}),
        ("digits", {8: 1, 5: 9, 9: 5, 3: 8, 4: 7}),
    ],
)
def test_maps_at_the_asked_rate_in_both_directions(
    data: str, moves: dict[int, int], rate: float
) -> None:
    found = transitions(data, 10, rate=rate)
    wanted = expected(10, moves, rate)
    deviation = np.sqrt(wanted * (1 - wanted) / EACH)
    assert (np.abs(found - wanted) <= 4 * deviation).all()


def test_cats_become_dogs_and_dogs_cats_at_the_same_rate() -> None:
    """And not at rate (1 - rate), as where labels that moved may move again."""
    found = transitions("cifar10", 10, rate=0.4)
    deviation = np.sqrt(0.4 * 0.6 / EACH)
    for cat, dog in ((3, 5), (5, 3)):
        assert abs(found[cat, dog] - 0.4) < 4 * deviation < abs(found[cat, dog] - 0.24)


@pytest.mark.parametrize(
    ("options", "moves"),
    [
        ({}, {4: 30, 95: 4, 1: 32, 9: 10, 61: 9, 85: 89, 89: 41, 14: 18}),
        ({"blocks": "superclass"}, {4: 30, 95: 4, 1: 32, 9: 10, 61: 9, 85: 89, 89: 41, 14: 18}),
        ({"blocks": "ids"}, {0: 1, 4: 0, 9: 5, 61: 62, 95: 96, 99: 95}),
    ],
)
def test_cifar100_goes_around_inside_blocks(options: dict[str, Any], moves: dict[int, int]) -> None:
    found = transitions("cifar100", 100, rate=1.0, **options)
    assert ((found == 1).sum(0) == 1).all()
    for source, target in moves.items():
        assert found[source, target] == 1


def test_superclasses_are_twenty_ascending_fives_of_all_classes() -> None:
    assert [len(block) for block in SUPERCLASSES] == [5] * 20
    assert all(list(block) == sorted(block) for block in SUPERCLASSES)
    assert sorted(sum(SUPERCLASSES, ())) == list(range(100))


def test_maps_are_of_sources_that_there_are() -> None:
    assert set(MAPS) <= set(SOURCES)


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        ("toy", {}, "toy has no map of look-alike classes"),
        ("toy", {}, "kind: matrix"),
        ("my-own", {"rate": 0.2}, "noise.kind = asymmetric: my-own has no map"),
        ("mnist", {"blocks": "ids"}, "noise.blocks = ids: mnist has no blocks of classes"),
        ("digits", {"blocks": "superclass"}, "only cifar100 has (leave it out, or"),
    ],
)
def test_refusals_are_one_line(data: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        transitions(data, 10, **options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_blocks_are_one_of_two() -> None:
    with pytest.raises(ConfigError, match=r"noise.blocks = 'id': must be one of 'superclass'"):
        Config.parse({"noise": {"kind": "asymmetric", "blocks": "id"}})
    plain = Config.parse({"noise": {"kind": "asymmetric", "rate": 0.2}}).plain
    assert Config.parse(plain).plain == plain
