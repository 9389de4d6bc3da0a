"""A simulated clock: a study with its real searcher, scheduler and journal, and no training.

Trials report when the clock of a made-up cluster says so, `width` of them at a time. Each report
carries the time at which it came, so the journal alone tells what time it is: a simulation that was
killed goes on with the same events in the same order, at any width. A kill costs no simulated
time. What a trial reported after its last checkpoint is reported again, and must change nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from tuning.curves import Curves, Step
from tuning.study import ENDED, Entry, Record, Study

CLOCK = "clock"  # in every simulated report: seconds since the study began


class Simulator:
    """Runs a study on curves.

    Args:
        study: new, or made for a journal that `live` is then given.
        curves: what its trials report, and how long that takes.
        width: trials at a time.

    Attributes:
        clock: simulated seconds.
        redone: reports that came again since a crash had undone them.
    """

    def __init__(self, study: Study, curves: Curves, width: int) -> None:
        self.study, self.curves, self.width = study, curves, width
        self.clock = 0.0
        self.redone = 0
        self.times: dict[str, dict[int, float]] = {}  # when each report came; 0: the trial's start
        self.running: dict[str, int] = {}  # the report each has come to in this life
        self.queue: list[tuple[float, str]] = []  # each running trial's next event
        self.begun: dict[str, int] = {}  # the generation that each member of a population is in

    def live(
        self,
        entries: Iterable[Entry] = (),
        saved: Callable[[Record], bool] = lambda record: True,
    ) -> None:
        """Take over the journal of earlier lives and run until nothing is left to do.

        Args:
            saved: whether a trial's last checkpoint is there, as `Study.replay` asks.
        """
        self.study.replay(self._timed(entries), saved)
        while self._fill():
            self._move(heapq.heappop(self.queue)[1])

    def _timed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, each looked at once the study has taken it in."""
        for entry in entries:
            yield entry
            kind = entry.get("kind")
            if kind == "suggest":
                self.times[entry["trial"]] = {0: self.clock}
            elif kind == "report":
                self.times[entry["trial"]][entry["report"]] = entry[CLOCK]
                self.clock = max(self.clock, entry[CLOCK])
            elif kind == "turn":
                self._begin(self.study.chains[entry["chain"]])
            elif kind == "end" and entry["status"] == "failed":
                record = self.study.records[entry["trial"]]
                self.clock = max(self.clock, self._due(record))

    def _fill(self) -> bool:
        """Start trials where there is room; whether any runs."""
        while len(self.running) < self.width:
            record = self.study.next()
            if record is None:
                break  # all are given out, or the next ones wait for those that run
            self._begin([record, *self.study.again])
            self._start(record)
        return bool(self.running)

    def _begin(self, records: Iterable[Record]) -> None:
        """A generation that has turned begins now, also for members that wait for room."""
        for record in records:
            if record.generation > self.begun.get(record.name, 0):
                self.begun[record.name] = record.generation
                self.times[record.name][record.since] = self.clock

    def _start(self, record: Record) -> None:
        self.times.setdefault(record.name, {0: self.clock})
        self.running[record.name] = _kept(record)
        heapq.heappush(self.queue, (self._due(record), record.name))

    def _due(self, record: Record) -> float:
        """When a trial's next event comes: its next report, failure, or an end left unsaid."""
        known, times = _known(record), self.times[record.name]
        if known + 1 in times:
            return times[known + 1]  # before the crash, which undid it
        over = known and _over(record)
        return times[known] + (0.0 if over else self.curves.step(record, known + 1).seconds)

    def _move(self, name: str) -> None:
        """Make a trial's next report; before it, those again that a crash has undone."""
        record = self.study.records[name]
        known = _known(record)
        for number in range(self.running[name] + 1, known + 1):
            self.redone += 1
            self._report(record, number, self.curves.step(record, number))
        if not (known and _over(record)):
            step = self.curves.step(record, known + 1)
            self.clock = max(self.clock, self._due(record))
            if step.report is None:
                self._end(name, "failed", step.error)
                return
            self._report(record, known + 1, step)
        if self.study.stands(name):
            del self.running[name]
        elif _over(record):
            self._end(name, self.study.ended_as(name))
        else:
            heapq.heappush(self.queue, (self._due(record), name))

    def _report(self, record: Record, number: int, step: Step) -> None:
        time = self.times[record.name].setdefault(number, self.clock)
        self.study.report(record.name, {**(step.report or {}), CLOCK: time})
        self.running[record.name] = number

    def _end(self, name: str, status: str, error: str | None = None) -> None:
        self.study.end(name, status, error)
        del self.running[name]


def differences(study: Study, entries: Sequence[Entry]) -> list[str]:
    """Play a journal in its recorded order to a new study; what it would have decided otherwise.

    Args:
        study: made as for the first life, with nothing in it; where it writes does not matter.

    Returns:
        One line each for a suggestion or a decision that differs, and a trial that was suggested,
        or ended, twice.
    """
    found: list[str] = []
    for entry in entries:
        name = entry.get("trial", "")
        record = study.records.get(name)
        if entry.get("kind") == "suggest":
            new = study.next()
            if new is None or (new.name, new.params) != (name, entry["params"]):
                given = (new.name, new.params) if new else "nothing"
                found.append(f"{name} {entry['params']}: suggested now is {given}")
                return found  # from here on everything follows from that
        elif entry.get("kind") == "turn":
            study.turn()
            study.again.clear()
            for take in entry["takes"]:
                member = study.records[take["trial"]]
                if (member.donor, member.params) != (take["donor"], take["params"]):
                    found.append(f"{member.name}: takes over {member.params} of {member.donor} now")
        elif record is None:
            continue  # the beginning of a life
        elif entry["kind"] == "report":
            report = {k: v for k, v in entry.items() if k not in ("kind", "trial", "decision")}
            decision = study.report(name, report)
            if decision != entry["decision"]:
                found.append(f"{name} report {entry['report']}: decided now is {decision}")
            study.stands(name)
        elif entry["kind"] == "retry":
            record.status, record.error = "pending", None
        elif entry["kind"] == "end":
            if record.status in ENDED:
                found.append(f"{name}: ended twice")
            study.end(name, entry["status"], entry["error"])
    return found


def _known(record: Record) -> int:
    return max(record.reports, default=0)


def _kept(record: Record) -> int:
    """The report after which a trial goes on: the last one with a checkpoint; 0 for none."""
    return max(
        (
            number
            for number, report in record.reports.items()
            if report["kept"] or report.get("checkpoint") or number == record.since
        ),
        default=0,
    )


def _over(record: Record) -> bool:
    """Whether its newest report was its last, or the last of its generation."""
    return bool(record.newest["done"]) or record.newest["decision"] == "STOP" or record.paused
