"""What a person sees of a running study: a live table, or a line now and then in a log."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuning.front import front
from tuning.shown import cut, duration, score_of, table_of, value_of
from tuning.study import ENDED, Record

CHAINS, RUNNING = 5, 3  # rows shown, so that the table fits 24 lines
LINE_SECONDS = 5.0


@dataclass(frozen=True)
class Promise:
    """What was promised before the study started."""

    name: str
    metric: str  # unit of every score, such as val/acc
    trials: Mapping[str, int]  # of each chain
    epochs: int  # of a trial that is not stopped
    time_limit: float | None = None  # seconds
    free: int = 0  # more trials, which go to the chains that the sampler chooses
    equal: bool = True  # whether chains were promised the same number of trials
    second: str = "none"  # what counts besides the score

    @property
    def total(self) -> int:
        """Trials in all."""
        return sum(self.trials.values()) + self.free


@dataclass(frozen=True)
class Row:
    """One chain's trials: how many have ended, and the best of them."""

    chain: str
    ended: int
    total: int  # promised, or dealt where that is more
    best: Record | None


@dataclass(frozen=True)
class View:
    """The study at one moment."""

    counts: Mapping[str, int]  # by status; trials nobody has asked for yet are pending
    rows: Sequence[Row]  # the chain with the best trial first
    best: Record | None
    total: int  # trials
    running: Sequence[Record]  # the furthest first
    failure: Record | None  # the newest failed trial
    epochs: float  # trained, in all lives
    planned: int  # epochs, if no trial were stopped
    seconds: float  # since this life's first report
    left: float | None  # seconds, estimated from the rate; None before there is one
    front: Sequence[Record] = ()  # where there are two metrics, what no other trial beats in both


def view(
    records: Iterable[Record],
    plan: Promise,
    seconds: float,
    ranking: Callable[[], Sequence[Record]],
    before: float = 0.0,
) -> View:
    """The study as its records stand.

    Args:
        seconds: since this life's first report.
        ranking: gives the trials that may win, best first (`Study.ranking`).
        before: epochs trained in earlier lives, which say nothing about this one's rate.
    """
    known, able = list(records), ranking()
    total, dealt = plan.total, Counter(r.chain for r in known)
    counts = {name: sum(r.status == name for r in known) for name in (*ENDED, "running", "pending")}
    counts["pending"] += max(0, total - len(known))
    rows = []
    for chain in dict.fromkeys([*(r.chain for r in able), *plan.trials]):  # the best chain first
        ended = sum(r.chain == chain and r.status in ENDED for r in known)
        best = next((r for r in able if r.chain == chain), None)
        rows.append(Row(chain, ended, max(plan.trials[chain], dealt[chain]), best))
    epochs = sum(r.epoch for r in known)
    rate = (epochs - before) / seconds if seconds > 0 else 0.0  # epochs a second
    left = _epochs_left(known, total, plan.epochs) / rate if rate > 0 else None
    if plan.time_limit is not None and left is not None:
        left = max(0.0, min(left, plan.time_limit - seconds))
    best = able[0] if able else None
    running = sorted((r for r in known if r.status == "running"), key=lambda r: -r.epoch)
    failure = next((r for r in reversed(known) if r.status == "failed"), None)
    planned = plan.epochs * total
    best_of_both = front(able, plan.second)
    return View(
        counts, rows, best, total, running, failure, epochs, planned, seconds, left, best_of_both
    )


def _epochs_left(known: Sequence[Record], total: int, epochs: int) -> float:
    """Epochs still to train, if trials go on to last as long as those that have ended."""
    lengths = [r.epoch for r in known if r.status in ENDED]
    usual = sum(lengths) / len(lengths) if lengths else float(epochs)
    open_ = [r.epoch for r in known if r.status not in ENDED]
    # One that has outlived the usual length is expected to run to its end.
    begun = sum((usual if epoch < usual else epochs) - epoch for epoch in open_)
    return begun + max(0, total - len(known)) * usual


class Progress:
    """A live table on a terminal, plain lines elsewhere; drops views sooner than `interval`."""

    def __init__(self, console: Console, *, plan: Promise, interval: float = 0.5) -> None:
        self.console = console
        self.plan = plan
        self.interval = max(interval, 0.25)
        self.live: Live | None = None
        self.seen = self.printed = float("-inf")  # when the last view came, the last line went out
        self.ended = 0

    @property
    def due(self) -> bool:
        """Whether a view would be looked at now; ask before making one."""
        return time.monotonic() - self.seen >= self.interval

    def update(self, view: View) -> None:
        """Draw the table anew; or print a line, when a trial has ended or the last is 5 s old."""
        if not self.due:
            return
        self.seen = time.monotonic()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            if self.live is None:  # transient: the summary takes its place
                self.live = Live(console=self.console, auto_refresh=False, transient=True)
                self.live.start()
            self.live.update(screen(view, self.plan), refresh=True)
            return
        ended = sum(row.ended for row in view.rows)
        if ended != self.ended or self.seen - self.printed >= LINE_SECONDS:
            self.console.print(line(view), soft_wrap=True, highlight=False, markup=False)
            self.ended, self.printed = ended, self.seen

    def stop(self) -> None:
        """Take the table off the screen; a later `update` brings it back."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def line(view: View) -> str:
    """One line for a log: '12/24 done 3 stopped | best mr-0007 score 0.6121 | 42 s, ... left'."""
    best = f" | best {view.best.name} score {score_of(view.best.score)}" if view.best else ""
    left = "" if view.left is None else f", about {duration(view.left)} left"
    return f"{_counts(view)}{best} | {duration(view.seconds)}{left}"


def screen(view: View, plan: Promise) -> RenderableType:
    """The live table, at most 24 lines of 80 columns."""
    left = "-" if view.left is None else f"about {duration(view.left)}"
    limit = "" if plan.time_limit is None else f"   limit {duration(plan.time_limit)}"
    epochs = f"epochs {view.epochs:.0f} of {view.planned}"
    ended = sum(row.ended for row in view.rows)
    bar = Table.grid(expand=True)  # a bar alone does not end its line
    bar.add_row(ProgressBar(total=view.total, completed=ended))
    parts: list[RenderableType] = [
        cut(plan.name, "bold"),
        bar,
        Text(f"{_counts(view)} {view.counts['pending']} pending"),
        cut(f"{duration(view.seconds)}   left {left}{limit}   {epochs}", "dim"),
        *_chains(view, plan, CHAINS, fold=False),
        *_best(view, plan),
    ]
    if view.running:
        cells = [(r.name, f"{r.epoch:.1f}/{plan.epochs}", score_of(r.score)) for r in view.running]
        parts += ["", table_of(("running", "epoch", "score"), cells[:RUNNING])]
    return Group(*parts)


def summary(view: View, plan: Promise) -> RenderableType:
    """What a study found: the best chain, the best trial of each chain, the best of all."""
    parts: list[RenderableType] = [Text(f"{_counts(view)} | {duration(view.seconds)}")]
    if len(view.rows) > 1 and view.best is not None:
        parts.append(Text(_best_chain(view, plan), style="bold"))
    table = _chains(view, plan, len(view.rows), fold=True)
    return Group(*parts, *table, *_front(view, plan), *_best(view, plan), "")


def _best_chain(view: View, plan: Promise) -> str:
    """The best chain, and what trials it had to become that."""
    told = f"best chain {view.rows[0].chain}, of {len(view.rows)}"
    if not plan.equal:
        return f"{told} (trials dealt by the sampler, not equally)"
    ended = {row.ended for row in view.rows}
    each = ended.pop() if len(ended) == 1 else 0
    return f"{told} with {each} trial{'s' * (each != 1)} each" if each else told


def _chains(view: View, plan: Promise, rows: int, *, fold: bool) -> list[RenderableType]:
    """The best of each chain when there are several; `rows` of them."""
    if len(view.rows) < 2:
        return []
    cells = [(x.chain, f"{x.ended}/{x.total}", *_found(x.best)) for x in view.rows[:rows]]
    heads = ("chain", "ended", plan.metric, "last epoch", "best trial")
    parts: list[RenderableType] = ["", table_of(heads, cells, fold=fold)]
    if len(view.rows) > rows:
        parts.append(Text(f"and {len(view.rows) - rows} more chains", style="dim"))
    return parts


def _front(view: View, plan: Promise) -> list[RenderableType]:
    """The trials that no other beats in both metrics."""
    if not view.front:
        return []
    heads = (plan.metric, f"{plan.second} to it", "best trial")
    costs = [(r, r.cost(plan.second) or 0.0) for r in view.front]
    cells = [(score_of(r.score), f"{cost:.4g}", r.name) for r, cost in costs]
    return ["", Text("beaten by no trial in both"), table_of(heads, cells)]


def _best(view: View, plan: Promise) -> list[RenderableType]:
    """The best trial's settings, and the last failure."""
    parts: list[RenderableType] = [""]
    if view.best is None:
        parts.append(Text("no trial may win yet", style="dim"))
    else:
        score, last, name = _found(view.best)
        values = "  ".join(f"{hole}={value_of(x)}" for hole, x in view.best.params.items())
        best = f"best {name}  {plan.metric} {score}, at its last epoch {last}"
        parts += [cut(best, "bold"), Text(values)]
    if view.failure is not None:
        told = (view.failure.error or "no message").strip().splitlines()[-1]
        parts.append(cut(f"{view.failure.name} failed: {told}", "red"))
    return parts


def _counts(view: View) -> str:
    """'12/24 done 3 stopped 2 running': nobody waits for what there is none of."""
    told = [f"{view.counts['done']}/{view.total} done"]
    named = ((name, view.counts[name]) for name in ("stopped", "failed", "running"))
    return " ".join([*told, *(f"{count} {name}" for name, count in named if count)])


def _found(best: Record | None) -> tuple[str, str, str]:
    return (score_of(best.score), score_of(best.last), best.name) if best else ("-", "-", "-")
