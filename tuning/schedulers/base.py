"""What a scheduler is to the platform: one question, asked at the end of each epoch of a trial."""

from typing import Literal, Protocol

Decision = Literal["CONTINUE", "PAUSE", "STOP"]


class Rule(Protocol):
    """Says which trials of one chain go on."""

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        """Take in a trial's score at the end of an epoch; say whether it goes on."""
        ...


class FIFO:
    """Lets every trial run to its end."""

    def __init__(
        self, epochs: int, *, mode: str, grace: float, factor: int, interval: float = 0.1
    ) -> None:
        pass

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        return "CONTINUE"
