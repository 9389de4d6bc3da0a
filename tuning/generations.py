"""The populations of a study, one for each chain under `pbt`, as part of the fold over its journal.

A member that reaches the end of its generation saves a checkpoint and stands. When all stand that
have not ended, one entry says who takes over from whom, and all go on: each from its own last
checkpoint or from its donor's. Those are kept until the next generation turns, when every member
has saved one of its own; so a crash at any moment finds what each member went on from.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tuning.population import segment, takes
from tuning.record import ENDED, Lane, Record
from tuning.schedulers import PBT


class Generations:
    """Which members stand, and what happens when all of them do.

    Args:
        lanes: of the study; those without a population are left alone.
        chains: the trials of each.
        shares: how many each will get.
        mode: `max` or `min`, of the score.

    Attributes:
        standing: members whose generation has not turned yet; their last checkpoint is saved.
        stale: folders, by `Record.segment`, with checkpoints that nobody can need any more.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        chains: Mapping[str, list[Record]],
        shares: Mapping[str, int],
        mode: str,
    ) -> None:
        self.lanes = {lane.chain: (lane, lane.rule) for lane in lanes if isinstance(lane.rule, PBT)}
        self.chains, self.shares, self.mode = chains, shares, mode
        self.standing: set[str] = set()
        self.stale: list[str] = []

    @property
    def waiting(self) -> bool:
        """Whether a member has not ended."""
        return any(self._going(chain) for chain in self.lanes)

    def stand(self, record: Record) -> None:
        """A member has saved its last state of this generation."""
        self.standing.add(record.name)
        record.status = "pending"

    def due(self) -> Iterator[dict[str, Any]]:
        """An entry for each generation that can turn."""
        for chain, (lane, rule) in self.lanes.items():
            going = self._going(chain)
            whole = len(self.chains[chain]) >= self.shares[chain]
            if not (going and whole and all(record.name in self.standing for record in going)):
                continue
            generation = rule.generation + 1
            found = takes(
                going,
                lane.holes,
                chain=chain,
                generation=generation,
                seed=lane.seed,
                mode=self.mode,
            )
            yield {
                "kind": "turn",
                "chain": chain,
                "generation": generation,
                "epoch": rule.until,
                "takes": [{**asdict(take), "config": lane.config(take.params)} for take in found],
            }

    def turn(self, entry: Mapping[str, Any]) -> list[Record]:
        """A generation turns, as its entry says; gives the members that go on."""
        chain, generation = entry["chain"], entry["generation"]
        self.lanes[chain][1].generation = generation
        going = self._going(chain)
        curves = {record.name: record.curve for record in going}
        found = {take["trial"]: take for take in entry["takes"]}
        for record in going:
            take = found.get(record.name)
            curve = curves[take["donor"] if take else record.name]
            record.begin(generation, entry["epoch"], curve, take)
            self.standing.discard(record.name)
        self._forget(chain, generation - 2)  # all stand on checkpoints of the one between
        return going

    def end(self, record: Record) -> None:
        """A trial has ended; with the last of a population, nothing is handed on any more."""
        if record.chain in self.lanes and not self._going(record.chain):
            self._forget(record.chain, self.lanes[record.chain][1].generation - 1)

    def _going(self, chain: str) -> list[Record]:
        return [record for record in self.chains[chain] if record.status not in ENDED]

    def _forget(self, chain: str, generation: int) -> None:
        """Nobody can go on from what a generation saved; a trial that ended in it keeps weights."""
        if generation >= 0:
            behind = [r for r in self.chains[chain] if r.generation > generation]
            self.stale += [segment(record.name, generation) for record in behind]
