"""The searchers that need no records, grid and Sobol: which points they try."""

import math
import time

import numpy as np
import pytest
from scipy.stats import qmc
from searching import FLAT, TREE, make

from trainables.errors import ConfigError
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value
from tuning.searchers import Grid, Problem, Random, Searcher, Sobol
from tuning.searchers.grid import number_of, point, size

LR = Hole("lr", Log(0.01, 1.0))
LAG = Hole("lag", Int(1, 2))
STEP = Hole("step", Uniform(0.0, 1.0))
SMALL = (Hole("schedule", Choice((Option("cosine"), Option("step", (STEP, LAG))))), LR)


def all_of(searcher: Searcher) -> list[dict[str, Value]]:
    assert searcher.most is not None
    return [searcher.suggest(n, []) for n in range(searcher.most)]


def test_a_grid_is_every_point_and_inner_holes_where_they_exist() -> None:
    points = all_of(Grid(Problem(SMALL, "mr", points=3)))
    rates, steps = (0.01, 0.1, 1.0), (0.0, 0.5, 1.0)
    wanted: list[dict[str, Value]] = [{"schedule": "cosine", "lr": lr} for lr in rates]
    wanted += [
        {"schedule": "step", "step": step, "lag": lag, "lr": lr}
        for step in steps
        for lag in (1, 2)
        for lr in rates
    ]
    assert sorted(map(repr, points)) == sorted(map(repr, wanted))
    assert points != wanted  # it is shuffled


@pytest.mark.parametrize(
    ("domain", "points", "axis"),
    [
        (Int(1, 3), 5, [1, 2, 3]),
        (Int(0, 10), 3, [0, 5, 10]),
        (Int(4, 4), 5, [4]),
        (Uniform(0.0, 0.3), 4, [0.0, 0.1, 0.2, 0.3]),
        (Log(1e-4, 1.0), 5, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (Log(0.1, 0.4), 2, [0.1, 0.4]),
        (Uniform(0.5, 0.5), 3, [0.5]),
    ],
)
def test_an_axis_holds_both_ends_and_no_value_twice(
    domain: Int | Uniform | Log, points: int, axis: list[Value]
) -> None:
    found = all_of(Grid(Problem((Hole("x", domain),), "mr", points=points)))
    values = [one["x"] for one in found]
    assert sorted(values, key=float) == axis  # type: ignore[arg-type]
    assert {type(value) for value in values} == {type(axis[0])}


def test_a_number_is_the_way_back_from_a_point() -> None:
    for holes in (SMALL, FLAT, TREE, ()):
        count = size(holes, 4)
        points = [point(holes, number, 4) for number in range(count)]
        assert len(set(map(repr, points))) == count
        assert [number_of(holes, one, 4) for one in points] == list(range(count))
    assert number_of(SMALL, {"schedule": "cosine", "lr": 0.02}, 4) is None
    assert number_of(SMALL, {"schedule": "step", "step": 0.1, "lag": 1, "lr": 1.0}, 4) is None


def test_a_grid_point_equal_to_a_start_point_is_not_tried_twice() -> None:
    on: dict[str, Value] = {"schedule": "cosine", "lr": 0.1}
    beside: dict[str, Value] = {"schedule": "cosine", "lr": 0.2}
    grid = Grid(Problem(SMALL, "mr", (on, beside, {"schedule": "step"}), points=3))
    points = all_of(grid)
    assert points[:2] == [on, beside]
    assert points[2]["schedule"] == "step"  # its other values are drawn
    assert points.count(on) == 1
    assert grid.most == 21 + 2  # of three start points, two lie beside the grid


def test_the_first_points_of_a_grid_are_of_all_its_parts() -> None:
    points = all_of(Grid(Problem(FLAT, "mr")))[:25]
    assert len({one["optim/lr"] for one in points}) == 5
    assert len({one["mr/eta"] for one in points}) == 5
    assert len({one["mr/lag"] for one in points}) == 3


def test_a_grid_of_a_million_is_shuffled_and_a_larger_one_refused() -> None:
    begun = time.perf_counter()
    assert make("grid", points=500).most == 500 * 500 * 3
    assert time.perf_counter() - begun < 2
    holes = tuple(Hole(f"x{number}", Uniform(0.0, 1.0)) for number in range(12))
    with pytest.raises(ConfigError, match=r"grid: mr has 244,140,625 points.*--grid-points 5"):
        Grid(Problem(holes, "mr"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sobol_fills_space_more_evenly_than_draws(seed: int) -> None:
    def discrepancy(kind: type[Sobol] | type[Random]) -> float:
        searcher = kind(Problem((STEP, LR), "mr", seed=seed))
        points = [searcher.suggest(n, []) for n in range(64)]
        cube = [
            (one["step"], math.log(float(one["lr"] or 1)) / math.log(100) + 1) for one in points
        ]
        return float(qmc.discrepancy(np.array(cube)))

    assert discrepancy(Sobol) < 0.4 * discrepancy(Random)


def test_sobol_begins_behind_the_start_points() -> None:
    start: dict[str, Value] = {"optim/lr": 0.1, "mr/eta": 0.5, "mr/lag": 1}
    plain, behind = make("sobol"), make("sobol", starts=[start, {}])
    assert [behind.suggest(n + 2, []) for n in range(4)] == [plain.suggest(n, []) for n in range(4)]


def test_every_quarter_of_sobols_points_is_dealt_evenly() -> None:
    """Of four in a row, one lies in each quarter of each axis."""
    searcher = make("sobol", seed=5)
    etas = [searcher.suggest(n, [])["mr/eta"] for n in range(16)]
    for four in (etas[:4], etas[4:8], etas[8:12], etas[12:]):
        assert sorted(int(4 * float(eta or 0.0)) for eta in four) == [0, 1, 2, 3]
