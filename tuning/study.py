"""A study: what to try next, what to stop, and what came of it, as a fold over its journal.

Every decision and every report is one journal entry, applied to the state by the same function when
it happens and when it is read back after a crash. So a resumed study knows what the first one knew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuning.allocate import Dealer
from tuning.holes import Value
from tuning.schedulers import Decision, Rule

ENDED = ("done", "stopped", "failed")
Entry = dict[str, Any]


@dataclass
class Record:
    """One trial, as the journal tells it.

    Attributes:
        name: chain and number, such as `mr-0007`.
        n: number within its chain, from 0.
        params: open hyperparameters by column.
        config: the nested trial config.
        status: pending | running | done | stopped | failed.
        reports: by number, from 1; a redone report replaces the first.
        decisions: on each report; made again after a crash, it gets the same one.
        error: what ended a failed trial, one line.
    """

    name: str
    chain: str
    n: int
    params: dict[str, Value]
    config: dict[str, Any]
    status: str = "pending"
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    error: str | None = None

    @property
    def newest(self) -> dict[str, Any]:
        """The last report; empty before the first."""
        return self.reports[max(self.reports)] if self.reports else {}

    @property
    def score(self) -> float | None:
        """The selected epoch's value; None before an epoch has ended."""
        scored = self._scored()
        return scored[-1]["score"] if scored else None

    @property
    def last(self) -> float | None:
        """The metric at the last epoch that ended."""
        scored = self._scored()
        return scored[-1]["last"] if scored else None

    @property
    def epoch(self) -> float:
        """Epochs trained so far."""
        return float(self.newest.get("epoch", 0.0))

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite."""
        return bool(self.newest.get("diverged", 0))

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(epoch, score) of each ended epoch."""
        return [(report["epoch"], report["score"]) for report in self._scored()]

    def _scored(self) -> list[dict[str, Any]]:
        return [self.reports[number] for number in sorted(self.reports) if self._is_score(number)]

    def _is_score(self, number: int) -> bool:
        return bool(self.reports[number]["scored"])


@dataclass(frozen=True)
class Lane:
    """One chain's trials: what stops them, and how a suggestion becomes a config."""

    chain: str
    rule: Rule
    config: Callable[[dict[str, Value]], dict[str, Any]]


class Study:
    """The state of a study and its decisions.

    Args:
        lanes: one per chain.
        dealer: says which chain is next, and with what values.
        epochs: of a trial that is not stopped.
        mode: `max` or `min`, of the score.
        select: the selection rule; under all but `best` only trials that ran all epochs can win.
        write: takes each new entry and whether it must be on disk before this returns.
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
        self.again: list[Record] = []  # unfinished ones of an earlier life, to be issued first

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
            if record.status not in ENDED and status and saved(record):
                self.end(record.name, status)
        self.again = [record for record in self.records.values() if record.status not in ENDED]
        for record in self.again:
            record.status = "pending"

    def next(self) -> Record | None:
        """The next trial to run; None when all are given out."""
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
        decision: Decision = record.decisions.get(report["report"], "CONTINUE")
        if _judged(report) and report["report"] not in record.decisions:
            rule = self.lanes[record.chain].rule
            decision = rule.decide(name, report["epoch"], report["score"])
        entry = {"kind": "report", "trial": name, **report, "decision": decision}
        self.write(entry, bool(report["kept"] or report.get("checkpoint")))
        self._take(entry)
        return decision

    def end(self, name: str, status: str, error: str | None = None) -> None:
        """A trial is over."""
        entry = {"kind": "end", "trial": name, "status": status, "error": error}
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
        elif kind == "report":
            if _judged(entry):
                rule = self.lanes[self.records[entry["trial"]].chain].rule
                rule.decide(entry["trial"], entry["epoch"], entry["score"])
            self._take(entry)
        elif kind == "end":
            record = self.records[entry["trial"]]
            record.status, record.error = entry["status"], entry["error"]

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
