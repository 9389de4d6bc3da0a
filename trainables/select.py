"""Which epoch of a trial counts: its last, its best, or the best of three in a row."""

from dataclasses import dataclass, field
from typing import Any

RULES = ("last", "best", "mean3")
MODES = {"val/acc": "max", "val/loss": "min"}  # the quantities a study may select on


@dataclass
class Selection:
    """Follows one trial's validation values, one per epoch.

    Attributes:
        rule: a member of RULES.
        mode: `max` or `min`.
        score: the trial's score so far; None before the first epoch.

    >>> selection = Selection("mean3", "max")
    >>> [selection.offer(value) for value in (0.2, 0.8, 0.6, 0.1)], round(selection.score, 3)
    ([True, True, True, False], 0.533)
    """

    rule: str
    mode: str
    score: float | None = None
    recent: list[float] = field(default_factory=list)  # up to the last three values

    def offer(self, value: float) -> bool:
        """Take in an epoch's value; tell whether this epoch's weights are now the chosen ones."""
        self.recent = [*self.recent, value][-3:]
        offered = sum(self.recent) / len(self.recent) if self.rule == "mean3" else value
        if self.score is not None and self.rule != "last" and not self._better(offered):
            return False
        self.score = offered
        return True

    def _better(self, offered: float) -> bool:
        assert self.score is not None
        return offered > self.score if self.mode == "max" else offered < self.score

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "recent": self.recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.recent = state["score"], list(state["recent"])
