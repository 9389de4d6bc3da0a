"""A study: what to try next, what to stop, and what came of it, as a fold over its journal.

Every decision and every report is one journal entry, applied to the state by the same function when
it happens and when it is read back after a crash. So a resumed study knows what the first one knew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from tuning.allocate import Dealer
from tuning.generations import Generations
from tuning.record import ENDED, Lane, Record
from tuning.schedulers import Decision

__all__ = ["ENDED", "Entry", "Lane", "Record", "Study"]

Entry = dict[str, Any]


class Study:
    """The state of a study and its decisions.

    Args:
        lanes: one per chain.
        dealer: says which chain is next, and with what values.
        epochs: of a trial that is not stopped.
        mode: `max` or `min`, of the score.
        select: the selection rule; under all but `best` only trials that ran all epochs can win.
        write: takes each new entry and whether it must be on disk before this returns.

    Attributes:
        again: to be issued before anything new: what an earlier life left unfinished, and the
            members of a population whose generation has turned.
        late: to be issued when Tune runs again.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        dealer: Dealer,
        epochs: int,
        mode: str,
        select: str,
        write: Callable[[Entry, bool], None],
    ) -> None:
        self.lanes = {lane.chain: lane for lane in lanes}
        self.dealer = dealer
        self.trials = sum(dealer.shares.values()) + dealer.free
        self.epochs, self.mode, self.select = epochs, mode, select
        self.write = write
        self.records: dict[str, Record] = {}
        self.chains: dict[str, list[Record]] = {lane.chain: [] for lane in lanes}
        self.again: list[Record] = []
        self.late: list[Record] = []
        self.places = count()  # of what is issued
        self.generations = Generations(lanes, self.chains, dealer.shares, mode)

    def replay(
        self, entries: Iterable[Entry], saved: Callable[[Record], bool] = lambda record: True
    ) -> None:
        """Take over the journal of earlier lives; what they left unfinished is issued again.

        Args:
            saved: whether a trial's last checkpoint is there, asked of one that was cut between its
                last report and its end; if not, its last reports are made again.
        """
        for entry in entries:
            self._apply(entry)
        for record in self.records.values():
            status = _ended(record)
            if record.status in ENDED or not (status or record.paused) or not saved(record):
                continue
            if status:
                self.end(record.name, status)
            else:
                self.generations.stand(record)
        standing = self.generations.standing
        left = [record for record in self.records.values() if record.status not in ENDED]
        self.again = [record for record in left if record.name not in standing]
        self.again.sort(key=lambda record: record.place)  # those that were running come first
        for record in self.again:
            record.status = "pending"

    def next(self) -> Record | None:
        """The next trial to run; None when all are given out, or wait for those that run."""
        self.turn()
        if self.again:
            return self.again.pop(0)
        turn = self.dealer.next([*self.records.values()])
        if turn is None:
            return None
        n = len(self.chains[turn.chain])
        name = f"{turn.chain}-{n:04d}"
        entry = {
            "kind": "suggest",
            "trial": name,
            "chain": turn.chain,
            "n": n,
            "params": turn.params,
            "config": self.lanes[turn.chain].config(turn.params),
            "start": turn.start,
            # What was known: all before it, of which these had not ended; counted within its chain
            # where each chain has a sampler of its own, within the study where there is one for all
            "open": [k for k, known in enumerate(turn.known) if known.status not in ENDED],
        }
        self._note(entry, flush=True)
        return self.records[name]

    def report(self, name: str, report: Mapping[str, Any]) -> Decision:
        """Take in a report; decide whether its trial goes on."""
        record = self.records[name]
        decision: Decision = "CONTINUE"
        if _judged(report):
            rule = self.lanes[record.chain].rule
            decision = rule.decide(name, report["epoch"], report["score"])
        if record.since < report["report"]:  # made again, it gets the decision that it got
            decision = record.decisions.get(report["report"], decision)
        entry = {"kind": "report", "trial": name, **report, "decision": decision}
        # Tune saves after these: no checkpoint may be ahead of the journal
        saves = report["kept"] or report.get("checkpoint") or report["done"]
        saves = saves or decision != "CONTINUE"
        self.write(entry, bool(saves))
        self._take(entry)
        return decision

    def end(self, name: str, status: str, error: str | None = None) -> None:
        """A trial is over."""
        entry = {"kind": "end", "trial": name, "status": status, "error": error}
        self._note(entry, flush=True)

    def retry(self) -> list[Record]:
        """Try failed trials again, from their beginning; gives them.

        A member of a population is not: its generation went on without it.
        """
        alone = self.records.values() if not self.generations.lanes else ()
        failed = [record for record in alone if record.status == "failed"]
        for record in failed:
            self._note({"kind": "retry", "trial": record.name}, flush=True)
            self.again.append(record)
        return failed

    def put_off(self, name: str) -> None:
        """Issue a trial again, from its newest checkpoint, when Tune runs again.

        Not before: to one run of Tune, two trials of one name would share a folder.
        """
        self.records[name].status = "pending"
        self.late.append(self.records[name])

    def take_late(self) -> bool:
        """Make ready to issue what was put off; whether there is any."""
        late, self.late = self.late, []
        self.again += late
        return bool(late)

    def stands(self, name: str) -> bool:
        """Whether a trial that Tune calls complete only waits for its generation to turn."""
        record = self.records[name]
        if record.paused:
            self.generations.stand(record)
        return record.paused

    @property
    def waiting(self) -> bool:
        """Whether more may come when `next` gives nothing."""
        return self.generations.waiting

    def turn(self) -> None:
        """Turn the generation of each population whose members all stand at its end."""
        for entry in self.generations.due():
            self._note(entry, flush=True)

    def ended_as(self, name: str) -> str:
        """How a trial that Tune calls complete ended: done or stopped."""
        return _ended(self.records[name]) or "done"

    def ranking(self, chain: str | None = None) -> list[Record]:
        """The trials that can win, best first; ties go to the earlier one."""
        able = [
            record
            for record in self.records.values()
            if chain in (None, record.chain) and self._can_win(record)
        ]
        sign = -1.0 if self.mode == "max" else 1.0
        return sorted(able, key=lambda record: sign * (record.score or 0.0))

    def selected(self, record: Record) -> float | None:
        """The epoch that counts, whose weights are kept; None before the first has ended."""
        epochs = [epoch for epoch, score in record.curve if score == record.score]
        if not epochs:
            return None
        return epochs[-1] if self.select == "last" else epochs[0]

    def count(self, *statuses: str, chain: str | None = None) -> int:
        """How many trials have one of the statuses."""
        records = self.records.values() if chain is None else self.chains[chain]
        return sum(record.status in statuses for record in records)

    def _can_win(self, record: Record) -> bool:
        if record.score is None or record.status not in ("done", "stopped"):
            return False
        return self.select == "best" or (record.epoch >= self.epochs and not record.diverged)

    def _note(self, entry: Entry, flush: bool) -> None:
        self.write(entry, flush)
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        """Change the state as an entry says; the same for a new one and for one read back."""
        kind = entry.get("kind")
        if kind == "suggest":
            record = Record(
                entry["trial"], entry["chain"], entry["n"], entry["params"], entry["config"]
            )
            self.records[record.name] = record
            self.chains[record.chain].append(record)
            record.place = next(self.places)
        elif kind == "report":
            if _judged(entry):
                rule = self.lanes[self.records[entry["trial"]].chain].rule
                rule.decide(entry["trial"], entry["epoch"], entry["score"])
            self._take(entry)
        elif kind == "end":
            record = self.records[entry["trial"]]
            record.status, record.error = entry["status"], entry["error"]
            self.generations.end(record)
        elif kind == "retry":
            record = self.records[entry["trial"]]
            record.status, record.error = "pending", None
        elif kind == "turn":
            for record in self.generations.turn(entry):
                record.place = next(self.places)
                self.again.append(record)

    def _take(self, entry: Entry) -> None:
        record = self.records[entry["trial"]]
        report = {key: value for key, value in entry.items() if key not in ("kind", "trial")}
        for lost in [number for number in record.reports if number > report["report"]]:
            del record.reports[lost]  # of an attempt that was cut short; they come again
        record.reports[report["report"]] = report
        record.decisions[report["report"]] = report["decision"]
        record.status = "running"


def _judged(report: Mapping[str, Any]) -> bool:
    """Whether a scheduler is asked: at the end of an epoch, of a trial that still trains."""
    return bool(report["scored"]) and not report["diverged"]


def _ended(record: Record) -> str | None:
    """How its last report says the trial ended; None while it goes on."""
    if record.newest.get("done"):
        return "done"
    return "stopped" if record.newest.get("decision") == "STOP" else None
