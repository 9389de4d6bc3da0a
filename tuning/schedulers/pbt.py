"""Population based training: generation by generation, the worst go on from states of the best.

Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846. Theirs
is asynchronous: a member is compared to whoever has reported by then. Here a generation turns when
all its members stand at its end. So what becomes of it depends on scores alone, never on the order
in which they came: a study is the same at any concurrency, and after any crash. The price is that a
generation takes as long as its slowest member. `tuning.population` says who takes from whom.
"""

from tuning.schedulers.base import Decision


class PBT:
    """Pauses every member of a chain's population at the end of its generation.

    Args:
        epochs: of a whole trial.
        mode: `max` or `min`, of the score.
        interval: share of the epochs that a generation trains, at least one epoch.

    Attributes:
        generation: the running one, from 0; the last one runs to the end of the epochs.
    """

    def __init__(
        self, epochs: int, *, mode: str, grace: float, factor: int, interval: float = 0.1
    ) -> None:
        self.epochs, self.every = epochs, generation_epochs(epochs, interval)
        self.generation = 0

    @property
    def until(self) -> int:
        """The epoch at whose end the running generation ends."""
        return (self.generation + 1) * self.every

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        return "PAUSE" if self.until <= epoch < self.epochs else "CONTINUE"


def generation_epochs(epochs: int, interval: float) -> int:
    """How many epochs a generation trains."""
    return max(1, round(interval * epochs))
