"""When to stop a trial early, or to let it go on from another one's state: one rule per chain.

Only ended epochs are asked about, at their epoch, never at Tune's count of reports.
"""

from tuning.schedulers.base import FIFO, Decision, Rule
from tuning.schedulers.pbt import PBT
from tuning.schedulers.stopping import ASHA, Median

__all__ = ["ASHA", "FIFO", "PBT", "SCHEDULERS", "Decision", "Median", "Rule"]

SCHEDULERS: dict[str, type[FIFO] | type[ASHA] | type[Median] | type[PBT]] = {
    "asha": ASHA,
    "fifo": FIFO,
    "median": Median,
    "pbt": PBT,
}
