"""The searchers: suggestion n depends on the seed, the chain, n and the records, and on no more."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from searching import ALL, SPACES, STEPS, TREES, Seen, firsts, live, make

from tuning.holes import Hole, Int, Log, Uniform, Value, contains, fill
from tuning.searchers import CHOOSING, SEARCHERS, TWO_METRICS

# what is small besides changes what TPE suggests; the others do not look at it
GOALS = [(kind, space, "none") for kind, space in ALL]
GOALS += [("tpe", space, "epochs") for space in SPACES]


def length(kind: str, usual: int) -> int:
    """Trials of a test; each of the GP's costs a fifth of a second, behind ten random ones."""
    return min(usual, 12) if kind == "gp" else usual


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("kind", "space", "second"), GOALS)
def test_a_searcher_rebuilt_at_any_moment_goes_on_as_the_one_that_lived(
    kind: str, space: str, second: str, width: int
) -> None:
    given: dict[str, Any] = {"starts": [{"optim/lr": 0.1}], "second": second}
    trials = length(kind, 26)
    asks = live(make(kind, space, **given), trials, width)
    kills = random.Random(f"{space} {width}").sample(range(1, trials), 2)
    for kill in [*kills, trials - 1]:
        rebuilt = make(kind, space, **given)
        for n, known, params in asks[kill:]:
            assert rebuilt.suggest(n, known) == params, (kill, n)


@pytest.mark.parametrize("kind", TREES)
def test_start_points_come_first_and_their_missing_holes_are_filled(kind: str) -> None:
    starts: list[dict[str, Value]] = [
        {"optim/lr": 0.123456789012, "optim/schedule": "step", STEPS.column: 0.1, "mr/on": True},
        {"optim/schedule": "cosine", "mr/on": 1},
        {},
    ]
    asks = live(make(kind, "tree", starts=starts), 4, 2)
    assert asks[0][2] == starts[0]
    assert asks[0][2]["mr/on"] is True
    assert asks[1][2].keys() == {"optim/lr", "optim/schedule", "mr/on"}
    assert asks[1][2]["optim/schedule"] == "cosine"
    assert type(asks[1][2]["mr/on"]) is int
    assert 1e-3 <= asks[2][2]["optim/lr"] <= 1.0  # type: ignore[operator]


@pytest.mark.parametrize("kind", SEARCHERS)
def test_a_start_point_of_numbers_comes_first_too(kind: str) -> None:
    start: dict[str, Value] = {"optim/lr": 0.123456789012, "mr/eta": 0.5, "mr/lag": 3}
    searcher = make(kind, starts=[start, {"mr/eta": 0.25}])
    assert searcher.suggest(0, []) == start
    assert searcher.suggest(1, [Seen(0, start)])["mr/eta"] == 0.25


@pytest.mark.parametrize(("kind", "space"), ALL)
def test_every_open_hole_is_filled_from_inside_and_no_closed_one(kind: str, space: str) -> None:
    for _, _, params in live(make(kind, space), length(kind, 24), 3):

        def check(hole: Hole, params: dict[str, Value] = params) -> Value:
            assert contains(hole.domain, params[hole.column])
            kinds = {Int: int, Log: float, Uniform: float}
            assert type(params[hole.column]) is kinds.get(
                type(hole.domain), type(params[hole.column])
            )
            return params[hole.column]

        assert fill(SPACES[space], check) == params


@pytest.mark.parametrize("kind", SEARCHERS)
def test_whole_numbers_reach_both_ends_and_logarithms_spread_evenly(kind: str) -> None:
    assert set(firsts(kind, "mr/lag")) == {1, 2, 3}
    rates = [rate for rate in firsts(kind, "optim/lr") if isinstance(rate, float)]
    assert len(rates) == 200
    assert 70 < sum(rate < 10**-1.5 for rate in rates) < 130


@pytest.mark.parametrize("kind", TREES)
def test_options_keep_their_kinds(kind: str) -> None:
    assert {repr(value) for value in firsts(kind, "mr/on", "tree")} == {
        "True",
        "1",
        "0",
        "False",
        "None",
    }


@pytest.mark.parametrize("kind", SEARCHERS)
@pytest.mark.parametrize("change", [{"seed": 4}, {"chain": "mr+mixup"}])
def test_another_seed_or_chain_draws_otherwise(kind: str, change: dict[str, Any]) -> None:
    records: list[Seen] = []
    for n in range(3):
        params = make(kind).suggest(n, records)
        assert make(kind, **change).suggest(n, records) != params
        assert all(record.params != params for record in records)
        records.append(Seen(n, params))


def test_only_a_grid_has_an_end() -> None:
    assert [kind for kind in SEARCHERS if make(kind).most is not None] == ["grid"]


def test_what_searchers_can_do_is_said_of_searchers_that_exist() -> None:
    assert {*CHOOSING, *TWO_METRICS} <= set(SEARCHERS)


def sample() -> list[Sequence[Any]]:
    """What a study suggests, for another process to compare."""
    return [
        [kind, n, params]
        for kind in SEARCHERS
        for n, _, params in live(
            make(kind, "tree" if kind in TREES else "flat"), length(kind, 14), 2
        )
    ]


def test_another_process_with_another_hash_seed_suggests_the_same() -> None:
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent)])
    command = "import json, test_searchers; print(json.dumps(test_searchers.sample()))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == sample()
    assert done.stderr == ""  # nobody is told of Optuna's troubles
