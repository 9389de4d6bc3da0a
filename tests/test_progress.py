"""What the display says, on a terminal and in a log."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tuning.progress import Progress, Promise, line, screen, summary, view
from tuning.study import Record

PARAMS = {"optim/lr": 0.0123456, "mr/eta": 0.1, "optim/schedule": "cosine"}


def record(name: str, status: str, epoch: float = 0.0, score: float = 0.5, **more: Any) -> Record:
    chain, _, n = name.rpartition("-")
    report = {"report": 1, "epoch": epoch, "step": 1, "scored": 1, "score": score}
    report |= {"last": score - 0.1, "diverged": 0}
    fields: dict[str, Any] = {"params": PARAMS, "config": {"epochs": 10}, "error": None} | more
    reports = {1: report} if epoch else {}
    return Record(name=name, chain=chain, n=int(n), status=status, reports=reports, **fields)


def ranked(records: Iterable[Record]) -> Callable[[], list[Record]]:
    able = sorted((r for r in records if r.status == "done"), key=lambda r: -(r.score or 0.0))
    return lambda: able


RECORDS = [
    record("mr-0000", "done", 10, 0.9123),
    record("mr-0001", "stopped", 2, 0.95),
    record("mr-0002", "running", 4, 0.7),
    record("ce-0000", "done", 10, 0.8),
    record("ce-0001", "failed", error="Traceback\nValueError: [b] is out of memory"),
    record("ce-0002", "pending"),
]


def plan(**more: Any) -> Promise:
    fields: dict[str, Any] = {"trials": {"ce": 4, "mr": 4}, "epochs": 10, "metric": "val/acc"}
    return Promise(**{"name": "ce_mr-digits", **fields, **more})


def shown(what: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, height=24)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_view_counts_everything_that_was_promised() -> None:
    seen = view(RECORDS, plan(), 13.0, ranked(RECORDS))
    counts = {"done": 2, "stopped": 1, "failed": 1, "running": 1, "pending": 3}
    assert seen.counts == counts
    assert [(row.chain, row.ended, row.total) for row in seen.rows] == [("mr", 2, 4), ("ce", 2, 4)]
    assert seen.best is RECORDS[0]
    assert seen.failure is RECORDS[4]
    assert (seen.epochs, seen.planned) == (26.0, 80.0)


@pytest.mark.parametrize(
    ("seconds", "before", "limit", "left"),
    [
        # Ended trials lasted 5.5 epochs: 3 pending ones and the rest of the running one, 18 epochs.
        (13.0, 0.0, None, 9.0),
        (13.0, 13.0, None, 18.0),
        (13.0, 0.0, 20.0, 7.0),
        (13.0, 0.0, 10.0, 0.0),
        (0.0, 0.0, None, None),
        (13.0, 26.0, 20.0, None),
    ],
)
def test_the_time_left_follows_the_rate(
    seconds: float, before: float, limit: float | None, left: float | None
) -> None:
    assert view(RECORDS, plan(time_limit=limit), seconds, ranked(RECORDS), before).left == left


def test_a_trial_that_outlived_the_others_is_expected_to_finish() -> None:
    records = [record("mr-0000", "stopped", 2), record("mr-0001", "running", 4)]
    assert view(records, plan(trials={"mr": 2}), 6.0, ranked(records)).left == 6.0


def test_a_log_line_says_it_all() -> None:
    expected = "2/8 done 1 stopped 1 failed 1 running | best mr-0000 score 0.9123"
    assert (
        line(view(RECORDS, plan(), 13.0, ranked(RECORDS))) == f"{expected} | 13 s, about 9 s left"
    )
    assert line(view([], plan(), 0.0, ranked([]))) == "0/8 done | 0 s"


@pytest.mark.parametrize("told", ["0.9123", "0.8123", "mr-0000", "optim/lr=0.01235", "2/4", "ce"])
@pytest.mark.parametrize("render", [screen, summary])
def test_the_numbers_are_in_the_tables(told: str, render: Any) -> None:
    text = shown(render(view(RECORDS, plan(), 13.0, ranked(RECORDS)), plan()))
    assert told in text
    assert "ce-0001 failed: ValueError: [b] is out of memory" in text


def test_the_screen_shows_what_is_running_and_what_is_left() -> None:
    limited = plan(time_limit=7500.0)
    text = shown(screen(view(RECORDS, limited, 13.0, ranked(RECORDS)), limited))
    for told in ("mr-0002", "4.0/10", "0.7000", "left about 9 s", "limit 2 h 05 min", "3 pending"):
        assert told in text
    assert "left -" in shown(screen(view([], plan(), 0.0, ranked([])), plan()))


def test_a_wide_study_fits_a_small_terminal() -> None:
    chains = {f"mr+mixup+sop-plus+random-weights+c{i}": 50 for i in range(12)}
    params = {f"optim/schedule/step/knob-{i}": 0.00012345 for i in range(6)}
    records = [
        record(f"{chain}-{n:04d}", status, 4.0, 0.5 + i / 100, params=params)
        for i, chain in enumerate(chains)
        for n, status in enumerate(["done", "running", "failed"])
    ]
    wide = plan(trials=chains, name="x" * 100, time_limit=1e5)
    lines = shown(screen(view(records, wide, 1e4, ranked(records)), wide)).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any(text.startswith("best mr+mixup+sop-plus+random-weights+c11-0000") for text in lines)
    assert any("12/600 done 12 failed 12 running 564 pending" in text for text in lines)
    assert any("0.6100" in text and "0.5100" in text and " 2/50 " in text for text in lines)
    assert "and 7 more chains" in "\n".join(lines)


def test_a_study_without_a_winner_says_so() -> None:
    assert "no trial may win" in shown(summary(view([], plan(), 1.0, ranked([])), plan()))


@pytest.mark.parametrize(("best", "first"), [("mr-0000", "mr"), ("ce-0000", "ce")])
def test_the_best_chain_stands_first(best: str, first: str) -> None:
    ranking = sorted(ranked(RECORDS)(), key=lambda record: record.name != best)
    text = shown(screen(view(RECORDS, plan(), 13.0, lambda: ranking), plan()))
    rows = [x.split()[0] for x in text.splitlines() if x.startswith(("ce  ", "mr  "))]
    assert rows == [first, {"mr": "ce", "ce": "mr"}[first]]


def test_a_log_gets_a_line_per_end_and_one_in_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = console(False)
    display = Progress(out, plan=plan())
    ended = 0
    for tick in range(80):  # 20 s, four looks a second
        now[0] = 100.0 + tick / 4
        ended += tick == 10
        display.update(view(RECORDS[:ended], plan(), tick / 4, ranked(RECORDS[:ended])))
    lines = written(out).splitlines()
    assert len(lines) == 5  # at 0, 2.5 (an end), 7.5, 12.5 and 17.5 s
    assert "1/8 done" in lines[1]
    assert "\x1b" not in written(out)


def test_a_terminal_gets_a_table_that_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = console(True)
    display = Progress(out, plan=plan(), interval=0.0)
    seen = view(RECORDS, plan(), 13.0, ranked(RECORDS))
    for tick in range(11):
        now[0] = 100.0 + tick / 10
        display.update(seen)
    assert written(out).count("about 9 s") in (4, 5)  # at most four a second, over one second
    assert not display.due
    display.stop()
    display.stop()
    assert written(out).endswith("\x1b[2K")


CHAINS = ("ce", "mr", "mixup", "mr+mixup+sop-plus+random-weights", "cdr+aux")


def found(*lengths: int) -> list[Record]:
    """Trials of five chains, as many as told; the third chain has the best."""
    return [
        record(f"{chain}-{n:04d}", "done", 10, 0.5 + 0.1 * (chain == "mixup") + n / 1000)
        for chain, length in zip(CHAINS, lengths, strict=True)
        for n in range(length)
    ]


def test_a_summary_names_the_best_chain_and_the_best_of_each() -> None:
    equal = plan(trials=dict.fromkeys(CHAINS, 3))
    records = found(3, 3, 3, 3, 3)
    text = shown(summary(view(records, equal, 9.0, ranked(records)), equal))
    assert "best chain mixup, of 5 with 3 trials each" in text
    for chain in CHAINS:  # whole names, however long
        assert f"{chain}-0002" in unfolded(text)
    assert text.count(" 3/3 ") == 5
    assert "\nbest mixup-0002  val/acc 0.6020" in text


def unfolded(text: str) -> str:
    """The last column of a table whose cells were folded, without the folds."""
    start = next(line.index("best trial") for line in text.splitlines() if "best trial" in line)
    return "".join(line[start:].strip() for line in text.splitlines())


def test_unequal_trials_are_counted_and_not_called_equal() -> None:
    promised = plan(trials=dict.fromkeys(CHAINS, 1), free=7, equal=False)
    records = found(1, 2, 5, 1, 3)
    seen = view(records, promised, 9.0, ranked(records))
    assert (seen.total, seen.planned, seen.counts["pending"]) == (12, 120, 0)
    text = shown(summary(seen, promised))
    assert text.startswith("12/12 done |")
    assert "best chain mixup, of 5 (trials dealt by the sampler, not equally)" in text
    assert "each" not in text
    for row, total in zip(seen.rows, (5, 3, 2, 1, 1), strict=True):
        assert (row.ended, row.total) == (total, total)
    assert "12/12 done 0 pending" in shown(screen(seen, promised))
    early = view(records[:3], promised, 9.0, ranked(records[:3]))
    assert early.counts["pending"] == 9
    assert {row.chain: row.total for row in early.rows} == dict.fromkeys(CHAINS, 1) | {"mr": 2}


def test_chains_that_ended_unequally_are_not_called_equal() -> None:
    equal = plan(trials={"ce": 1, "mr": 4, "mixup": 4, CHAINS[3]: 4, "cdr+aux": 4})
    records = found(1, 4, 4, 4, 4)
    text = shown(summary(view(records, equal, 9.0, ranked(records)), equal))
    assert "best chain mixup, of 5\n" in text
