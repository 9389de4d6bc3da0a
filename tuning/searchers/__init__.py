"""What to try next. Suggestion n of a chain is a pure function of (seed, chain, n, records known).

What a searcher keeps is a cache of the records and none is saved: after a crash the records alone
give the same suggestions again. NSGA-II is left out: it keeps parents and generations that records
do not tell, so its suggestions are no such function.
"""

from tuning.searchers.base import RANDOM_FIRST, Known, Problem, Searcher
from tuning.searchers.cmaes import CMAES
from tuning.searchers.gp import GP
from tuning.searchers.grid import Grid
from tuning.searchers.random import Random
from tuning.searchers.sobol import Sobol
from tuning.searchers.tpe import TPE

__all__ = [
    "CHOOSING",
    "CMAES",
    "GP",
    "RANDOM_FIRST",
    "SEARCHERS",
    "TPE",
    "TWO_METRICS",
    "Grid",
    "Known",
    "Problem",
    "Random",
    "Searcher",
    "Sobol",
]

Kind = type[Random] | type[Grid] | type[Sobol] | type[TPE] | type[GP] | type[CMAES]
SEARCHERS: dict[str, Kind] = {
    "tpe": TPE,
    "random": Random,
    "grid": Grid,
    "sobol": Sobol,
    "gp": GP,
    "cmaes": CMAES,
}
CHOOSING = ("tpe", "random", "sobol", "gp")  # those that can choose between chains, too
TWO_METRICS = ("tpe", "random", "grid", "sobol")  # those that can have a second metric
