"""Who is dealt what: a pure function of the seed and the records, whatever the dealer.

That a study which was cut goes on in the same way is shown in `test_study.py`.
"""

import copy
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, get_type_hints

import pytest

from trainables.errors import ConfigError
from tuning.allocate import DEALERS, Dealer, Turn, opening
from tuning.conditional import CHAIN, joined, over, parted
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value, contains, walk
from tuning.searchers import CHOOSING, RANDOM_FIRST, SEARCHERS, Problem
from tuning.settings import Settings

RATE = Hole("optim/lr", Log(1e-3, 1.0))
ETA = Hole("mr/eta", Uniform(0.0, 1.0))
STEPS = Hole("optim/schedule/step/factor", Log(0.05, 0.5))
SCHEDULE = Hole("optim/schedule", Choice((Option("cosine"), Option("step", (STEPS,)))))


@dataclass(frozen=True)
class Space:
    """A chain as dealers see it."""

    chain: str
    holes: tuple[Hole, ...]
    starts: tuple[dict[str, Value], ...] = ()
    most: int | None = None


CE = Space("ce", (RATE,), ({"optim/lr": 0.1},))
MR = Space("mr", (RATE, ETA), ({"optim/lr": 0.1, "mr/eta": 0.01}, {"mr/eta": 0.1}))
TREE = Space("mr+mixup", (Hole("optim/lr", Int(1, 3)), SCHEDULE))  # optim/lr of another kind
NOTHING = Space("smooth", (), (), 1)
ALL = (CE, MR, TREE, NOTHING)
QUICK = [kind for kind in CHOOSING if kind != "gp"]  # which takes a fifth of a second a trial


@dataclass
class Trial:
    """A trial as dealers know it."""

    n: int
    chain: str
    params: dict[str, Value]
    status: str = "running"
    score: float | None = None
    diverged: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)

    def cost(self, second: str) -> float | None:
        return None if self.score is None else {"ce": 1.0}.get(self.chain, 9.0)


def make(
    how: str = "adaptive", chains: Sequence[Space] = ALL, searcher: str = "tpe", **more: Any
) -> Dealer:
    terms: dict[str, Any] = {"seed": 3, "mode": "max"} | more
    trials = terms.pop("trials", 24)
    return DEALERS[how](
        chains, trials=trials, make=lambda *of: SEARCHERS[searcher](Problem(*of, **terms))
    )


def finish(trial: Trial, best: str) -> None:
    """End it: the chain `best` scores 0.3 more, every fifth trial is stopped, every seventh fails.

    A rate of 0.1 is ideal.
    """
    rate = trial.params.get("optim/lr", 0.03)
    assert isinstance(rate, float | int)
    score = 0.6 + 0.3 * (trial.chain == best) - 0.1 * abs(math.log10(rate) + 1)
    if trial.n % 5 == 1:
        trial.status, trial.score, trial.curve = "stopped", score, [(1.0, score)]
    elif trial.n % 7 == 3:
        trial.status = "failed"
    else:
        trial.status, trial.score, trial.curve = "done", score, [(1.0, score)]


Ask = tuple[list[Trial], Turn]


def live(dealer: Dealer, width: int = 1, best: str = "mr") -> list[Ask]:
    """Run all trials, `width` at a time; every ask with the records it was given."""
    order = random.Random(width)
    trials: list[Trial] = []
    asks: list[Ask] = []
    while True:
        running = [trial for trial in trials if trial.status == "running"]
        if len(running) == width:
            finish(order.choice(running), best)
            continue
        known = copy.deepcopy(trials)
        turn = dealer.next(trials)
        if turn is None:
            return asks
        assert turn.chain in dealer.shares
        asks.append((known, turn))
        trials.append(Trial(len(trials), turn.chain, dict(turn.params)))


def dealt(asks: Sequence[Ask]) -> list[str]:
    return [turn.chain for _, turn in asks]


def told(turn: Turn | None) -> Any:
    return turn and (turn.chain, turn.params, turn.start)


def test_every_dealer_is_a_setting() -> None:
    hint = get_type_hints(Settings)["allocate"]
    assert set(hint.__args__) == set(DEALERS)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(
    ("how", "searcher"), [*product(DEALERS, QUICK), ("equal", "grid"), ("equal", "cmaes")]
)
def test_a_dealer_rebuilt_at_any_moment_goes_on_as_the_one_that_lived(
    how: str, searcher: str, width: int
) -> None:
    chains = [chain for chain in ALL if searcher != "cmaes" or chain is not TREE]
    asks = live(make(how, chains, searcher=searcher), width)
    for kill in (0, 3, 11, 17, len(asks) - 1):
        rebuilt = make(how, chains, searcher=searcher)
        for known, turn in asks[kill:]:
            assert told(rebuilt.next(known)) == told(turn), kill


@pytest.mark.parametrize("searcher", QUICK)
def test_each_chain_begins_with_its_own_points_in_turn(searcher: str) -> None:
    asks = live(make(searcher=searcher, trials=6))
    assert dealt(asks)[:5] == ["ce", "mr", "mr+mixup", "smooth", "mr"]
    turns = [turn for _, turn in asks]
    assert [turn.start for turn in turns] == [True, True, False, False, True, False]
    assert turns[0].params == CE.starts[0]
    assert turns[1].params == MR.starts[0]
    assert turns[2].params.keys() >= {"optim/lr", "optim/schedule"}  # given, with drawn values
    assert turns[3].params == {}
    assert turns[4].params.keys() == {"optim/lr", "mr/eta"}
    assert turns[4].params["mr/eta"] == 0.1


@pytest.mark.parametrize("trials", [1, 3, 5, 9])
def test_no_more_trials_are_given_than_there_are(trials: int) -> None:
    dealer = make(trials=trials)
    assert sum(dealer.shares.values()) == min(trials, 5)
    assert dealer.free == max(0, trials - 5)
    assert len(live(dealer)) == trials
    assert list(dealer.shares) == ["ce", "mr", "mr+mixup", "smooth"]


@pytest.mark.parametrize("searcher", QUICK)
def test_a_chain_with_nothing_open_is_tried_once(searcher: str) -> None:
    asks = live(make(searcher=searcher, trials=40), best="smooth")
    assert Counter(dealt(asks))["smooth"] == 1
    assert set(dealt(asks)[5:]) == {"ce", "mr", "mr+mixup"}


def test_where_nothing_is_open_each_chain_has_one_trial() -> None:
    dealer = make(chains=(NOTHING, Space("ce", (), (), 1)), trials=9)
    assert (dealer.free, dealt(live(dealer))) == (0, ["smooth", "ce"])


@pytest.mark.parametrize("searcher", QUICK)
def test_values_lie_in_the_holes_of_their_own_chain(searcher: str) -> None:
    spaces = {space.chain: space for space in ALL}
    for _, turn in live(make(searcher=searcher, trials=30), 3):
        holes = {hole.column: hole for hole in walk(spaces[turn.chain].holes)}
        assert turn.params.keys() <= holes.keys()
        assert (turn.params.get("optim/schedule") == "step") == (STEPS.column in turn.params)
        for column, value in turn.params.items():
            assert contains(holes[column].domain, value)


@pytest.mark.parametrize("best", ["ce", "mr"])
def test_a_chain_that_is_clearly_better_gets_most_of_the_trials(best: str) -> None:
    spent: Counter[str] = Counter()
    for seed in range(4):
        asks = live(make(chains=(CE, MR), seed=seed, trials=40), best=best)
        spent.update(dealt(asks)[RANDOM_FIRST:])
    assert spent.total() == 4 * (40 - RANDOM_FIRST)
    assert spent[best] > 0.7 * spent.total()


def test_a_sampler_over_all_chains_learns_what_trials_cost_too() -> None:
    spent: Counter[str] = Counter()
    for seed in range(3):  # scores are alike, ce takes a ninth of the epochs
        asks = live(make(chains=(CE, MR), second="epochs", seed=seed), best="neither")
        spent.update(dealt(asks)[RANDOM_FIRST:])
    assert spent["ce"] > 2 * spent["mr"]


def test_random_search_favours_no_chain() -> None:
    chains = dealt(live(make(chains=(CE, MR), searcher="random", trials=200)))
    assert 80 < Counter(chains)["mr"] < 120


@pytest.mark.parametrize("searcher", QUICK)
def test_another_seed_deals_otherwise(searcher: str) -> None:
    one, other = (live(make(searcher=searcher, seed=seed)) for seed in (1, 2))
    assert [told(turn) for _, turn in one] != [told(turn) for _, turn in other]


def test_points_are_dealt_round_by_round() -> None:
    three = Space("a", (RATE,), ({"optim/lr": 0.1}, {"optim/lr": 0.2}, {"optim/lr": 0.3}))
    found = opening((three, NOTHING, TREE, MR))
    assert [chain for chain, _ in found] == ["a", "smooth", "mr+mixup", "mr", "a", "mr", "a"]
    assert found[-1] == ("a", {"optim/lr": 0.3})


def test_columns_are_the_chains_own_at_every_depth() -> None:
    (hole,) = over({"ce": CE.holes, "mr+mixup": TREE.holes})
    assert [inner.column for inner in walk((hole,))] == [
        CHAIN, "ce/optim/lr", "mr+mixup/optim/lr", "mr+mixup/optim/schedule",
        "mr+mixup/optim/schedule/step/factor",
    ]  # fmt: skip


@pytest.mark.parametrize("params", [{}, {"optim/lr": 0.1, "mr/eta": 1.0}, {"mr/mr/eta": True}])
def test_what_is_joined_can_be_parted(params: dict[str, Value]) -> None:
    assert parted(joined("mr", params)) == ("mr", params)


def test_a_chain_has_no_more_trials_than_its_grid_has_points() -> None:
    chains = (CE, Space("mr", (Hole("mr/lag", Int(1, 2)),)), NOTHING)
    dealer = make("equal", chains, "grid", trials=30, points=3)
    assert dealer.shares == {"ce": 3 + 1, "mr": 2, "smooth": 1}  # 0.1 is not among three rates
    assert Counter(dealt(live(dealer))) == dealer.shares


@pytest.mark.parametrize(
    ("column", "field"), [("optim/schedule", "optim.schedule"), ("mr/period", "methods.mr.period")]
)
def test_cmaes_refuses_a_choice_and_names_the_hole(column: str, field: str) -> None:
    space = Space("mr+mixup", (RATE, Hole(column, SCHEDULE.domain)))
    told = f"cmaes: {field} of mr+mixup is a choice"
    with pytest.raises(ConfigError, match=re.escape(told)) as raised:
        make("equal", (CE, space), "cmaes")
    assert f"(fix it: --set {field}=cosine; or take --searcher tpe)" in str(raised.value)
