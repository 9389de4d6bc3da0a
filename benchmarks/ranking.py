"""Tables of a leaderboard: chains on one noise, each trained on the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.trained import Run, picked, regret, spread
from trainables.methods.chain import PLAIN
from trainables.select import RULES
from tuning.holes import Value

RULE = "best"  # the selection rule whose epoch counts


@dataclass(frozen=True)
class Entrant:
    """One chain on one noise: what the search chose, and its trainings, one per seed."""

    params: Mapping[str, Value]
    runs: Sequence[Run]


@dataclass(frozen=True)
class Row:
    """An entrant on clean labels, one number per seed, as shares.

    Attributes:
        selected, last: accuracy at the epoch that RULE picks, and at the last.
        gains: of `selected`, then of `last`, over cross-entropy's.
        regrets: by rule, of the picked epoch against the run's best.
        params: what the search chose.
    """

    selected: np.ndarray
    last: np.ndarray
    gains: tuple[np.ndarray, np.ndarray]
    regrets: Mapping[str, np.ndarray]
    params: Mapping[str, Value]


def scored(entrants: Mapping[str, Entrant], labels: np.ndarray) -> dict[str, Row]:
    """The chains of one noise, best first at the selected epoch."""
    plain = [picked(entrants[PLAIN].runs, rule, labels) for rule in (RULE, "last")]
    rows = {}
    for chain, entrant in entrants.items():
        selected, last = (picked(entrant.runs, rule, labels) for rule in (RULE, "last"))
        regrets = {rule: regret(entrant.runs, rule, labels) for rule in RULES}
        gains = (selected - plain[0], last - plain[1])
        rows[chain] = Row(selected, last, gains, regrets, entrant.params)
    return dict(sorted(rows.items(), key=lambda item: -item[1].selected.mean()))


def is_worse(gain: np.ndarray) -> bool:
    """Whether a chain lies below cross-entropy by more than the spread of their difference.

    >>> is_worse(np.array([-0.02, -0.03])), is_worse(np.array([-0.04, 0.01]))
    (True, False)
    """
    return bool(gain.mean() < -(gain.std(ddof=1) if len(gain) > 1 else 0.0))


def table(rows: Mapping[str, Row]) -> list[str]:
    """The chains of one noise, in Markdown."""
    lines = [
        "| chain | selected epoch | last epoch | selected - ce | wins | best hyperparameters |",
        "|---|---|---|---|---|---|",
    ]
    for chain, row in rows.items():
        gain = row.gains[0]
        told = [chain, spread(row.selected), spread(row.last), "", "", settings(row.params)]
        if chain != PLAIN:
            told[3:5] = spread(gain, "+"), f"{(gain > 0).sum()}/{len(gain)}"
        lines.append(f"| {' | '.join(told)} |")
    return lines


def settings(params: Mapping[str, Value]) -> str:
    """What a search chose, short.

    >>> settings({"optim/lr": 0.0123456, "mr/period": 1, "reset/adaptive": True})
    'lr 0.0123, mr/period 1, reset/adaptive true'
    """
    texts = {
        column.removeprefix("optim/"): f"{value:.3g}" if isinstance(value, float) else str(value)
        for column, value in params.items()
    }
    shown = {"True": "true", "False": "false"}
    return ", ".join(f"{name} {shown.get(text, text)}" for name, text in texts.items())


def regrets(board: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Mean regret of each rule per noise and over all, and its worst chain, in Markdown."""
    lines = [f"| noise | {' | '.join(RULES)} |", "|" + "---|" * (len(RULES) + 1)]
    means = {
        name: [[100 * float(row.regrets[rule].mean()) for row in rows.values()] for rule in RULES]
        for name, rows in board.items()
    }  # noise -> rule -> chain
    for name, by_rule in means.items():
        lines.append(f"| {name} | {' | '.join(f'{np.mean(values):.1f}' for values in by_rule)} |")
    places = [f"{chain}, {name}" for name, rows in board.items() for chain in rows]
    overall, worst = [], []
    for number in range(len(RULES)):
        values = [value for by_rule in means.values() for value in by_rule[number]]
        overall.append(f"{np.mean(values):.1f}")
        worst.append(f"{max(values):.1f} ({places[int(np.argmax(values))]})")
    return [*lines, f"| all | {' | '.join(overall)} |", f"| worst chain | {' | '.join(worst)} |"]


def worse(board: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """The chains below cross-entropy by more than the spread, a line each."""
    return [
        f"- {name}: {chain}, {where} epoch, {spread(gain, '+')}"
        for name, rows in board.items()
        for chain, row in rows.items()
        for where, gain in zip(("selected", "last"), row.gains, strict=True)
        if is_worse(gain)
    ]


def plain_of(row: Row) -> dict[str, Any]:
    """A row as JSON holds it, shares by seed."""
    lists = {rule: values.tolist() for rule, values in row.regrets.items()}
    return {
        "selected": row.selected.tolist(),
        "last": row.last.tolist(),
        "regret": lists,
        "params": dict(row.params),
    }
