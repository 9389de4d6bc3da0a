"""Two metrics at once: the trials between which only a person can choose."""

from collections.abc import Sequence
from itertools import groupby

from tuning.study import Record


def front(ranking: Sequence[Record], second: str) -> list[Record]:
    """The Pareto front: the trials that no other beats, a better score for no more or an equal
    score for less.

    Args:
        ranking: trials that may win, the best score first (`Study.ranking`).
        second: `epochs` or `seconds` that a trial took to its score; `none` gives no front.

    Returns:
        the best score first; each next one took less. Trials that are equal in both all stay.
    """
    kept: list[Record] = []
    if second == "none":
        return kept
    least = float("inf")
    for _, tied in groupby(ranking, key=lambda record: record.score):
        costs = [(record, record.cost(second)) for record in tied]
        cheapest = min(cost for _, cost in costs if cost is not None)
        if cheapest < least:
            kept += [record for record, cost in costs if cost == cheapest]
            least = cheapest
    return kept
