"""Row memories: how much chains hold, and that what cannot fit is refused before it is tried."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from torch import Tensor
from toys import tiny

from trainables import cost
from trainables.config import Config
from trainables.cost import least_on_gpu
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method
from trainables.rows import Rows, rows_of
from tuning import forecast, search
from tuning.resources import Resources
from tuning.room import Heaviest, heaviest, refuse_rows
from tuning.space import Plan, load

GB, GIB = 10**9, 2**30


@dataclass
class Table(Method):
    """A toy that says that it holds a number for each row and class."""

    follows_model: ClassVar[bool] = True

    def memory(self, size: int, classes: int) -> int:
        return 4 * size * classes


@dataclass
class Column(Method):
    """A toy that says that it holds a number for each row."""

    def memory(self, size: int, classes: int) -> int:
        return 4 * size


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    name, method = next(reversed(METHODS.items()))
    monkeypatch.delitem(METHODS, name)
    monkeypatch.setitem(METHODS, "table", Table)
    monkeypatch.setitem(METHODS, "column", Column)
    monkeypatch.setitem(METHODS, name, method)


def plan(methods: str) -> Plan:
    return load(methods, task="digits", spaces=[], settings=[], seed=0, study_flags={})


# How much


@pytest.mark.parametrize(
    ("methods", "names", "held", "kept"),
    [
        ((), (), 0, 0),
        (("table",), ("table",), 12_000, 0),
        (("table", "column"), ("table", "column"), 13_200, 0),
        (("table", "column", "reset"), ("table", "column"), 13_200, 12_000),
        (("column", "reset"), ("column",), 1200, 0),
    ],
)
@pytest.mark.usefixtures("toys")
def test_a_chain_holds_the_sum_and_a_reset_keeps_what_follows(
    methods: tuple[str, ...], names: tuple[str, ...], held: int, kept: int, data: Dataset
) -> None:
    found = rows_of(tiny({name: {} for name in methods}), data)
    assert found == Rows(300, 10, names, held, kept)
    assert found.peak(gpu=True) == 2 * held + kept  # itself, a checkpoint's copy, the kept one
    assert found.peak(gpu=False) == 3 * held + 2 * kept  # and the checkpoint's files


@pytest.mark.parametrize("name", METHODS)
def test_a_method_tells_what_it_holds(name: str, data: Dataset) -> None:
    """A few numbers a row need no telling: 16 MB for a million rows."""
    method = Loop(tiny({name: {}}), data, device="cpu").chain.methods[name]
    saved = [tensor for tensor in method.state_dict().values() if isinstance(tensor, Tensor)]
    found = sum(tensor.nbytes for tensor in saved if tensor.dim() and len(tensor) == 300)
    assert 0 <= found - method.memory(300, 10) <= 16 * 300


@pytest.mark.usefixtures("toys")
def test_of_several_chains_the_heaviest_counts(data: Dataset) -> None:
    found = heaviest(plan("column,table,ce"), data)
    assert (found.chain, found.config.chain, found.rows.held) == ("table", "table", 12_000)
    assert heaviest(plan("ce,smooth"), data).chain == "ce"


@pytest.mark.usefixtures("toys")
def test_what_a_gpu_must_hold_counts_them(data: Dataset) -> None:
    chains = ({}, {"table": {}}, {"table": {}, "reset": {}})
    plain, table, kept = (least_on_gpu(tiny(chain), data, 1000, 10**9) for chain in chains)
    assert (table - plain, kept - table) == (24_000, 12_000)
    assert plain > cost.CONTEXT_BYTES


# What is refused


def heavy(held: int, kept: int = 0, names: tuple[str, ...] = ("table",)) -> Heaviest:
    chain = "+".join((*names, *["reset"] * bool(kept)))
    return Heaviest(chain, Config(), Rows(1_000_000, 14, names, held, kept))


@pytest.mark.parametrize(
    ("asked", "given", "room", "told"),
    [
        (
            heavy(2 * GB),
            Resources(1, 0, 4),
            16 * GB,
            "table: 4 trials at a time need 4 x 6.0 GB for what table holds of N = 1,000,000 "
            "training images and K = 14 classes, with copies to save, and 16.0 GB of memory are "
            "free (at most 2: --concurrency 2; or leave out table)",
        ),
        (heavy(2 * GB), Resources(1, 0, 4), 24 * GB, None),
        (
            heavy(2 * GB, GB, ("table", "column")),
            Resources(1, 0, 2),
            5 * GB,
            "table+column+reset: 2 trials at a time need 2 x 8.0 GB for what table and column hold "
            "of N = 1,000,000 training images and K = 14 classes, with copies to save, and 5.0 GB "
            "of memory are free (leave out table and column; or take fewer images: "
            "--set per_class=n)",
        ),
        (heavy(2 * GB), Resources(1, 0, 1), 5 * GB, "1 trial at a time needs 6.0 GB"),
        (
            heavy(3 * GIB),
            Resources(1, 0.25, 4),
            16 * GIB,
            "4 trials on one GPU need 4 x 6.0 GiB for what table holds of N = 1,000,000 training "
            "images and K = 14 classes, with copies to save, and a GPU has 16.0 GiB (at most 2: "
            "--gpus 0.5 or --concurrency 2; or leave out table)",
        ),
        (heavy(3 * GIB), Resources(1, 0.25, 8), 16 * GIB, "(at most 2: --gpus 0.5; or leave out"),
        (heavy(3 * GIB), Resources(1, 1, 8), 16 * GIB, None),  # each alone on its GPU
        (heavy(9 * GIB), Resources(1, 1, 8), 16 * GIB, "1 trial on a GPU needs 18.0 GiB"),
        (heavy(0, 0, ()), Resources(1, 0, 64), 0, None),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(
    asked: Heaviest, given: Resources, room: int, told: str | None
) -> None:
    if told is None:
        refuse_rows(asked, given, room)
        return
    with pytest.raises(ConfigError) as refused:
        refuse_rows(asked, given, room)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_study_that_cannot_fit_does_not_begin(
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(search, "free_memory", lambda: 100_000)
    command = ["--method", "ce,table", "--concurrency", "2", "--gpus", "0", *more]
    assert search.main([*command, "--storage", f"{tmp_path}/results"]) == search.WRONG
    told = capsys.readouterr().err
    # 1078 rows x 10 classes x 4 bytes, three times
    assert told.startswith("error: table: 2 trials at a time need 2 x 0.1 MB for what table holds")
    assert "N = 1,078 training images and K = 10 classes" in told


@pytest.mark.usefixtures("toys")
def test_a_plan_shows_them(data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(forecast, "cost", lambda *args: cost.Cost(1.0, 1000, 5000, 0, 20, False))
    wide = replace(data, classes=tuple(map(str, range(1000))))
    shown = []
    for methods in ("ce", "ce,table"):
        made = forecast.forecast(plan(methods), wide, Resources(1, 0, 2), tmp_path, None)
        shown.append(" ".join(str(line) for line in made.renderables).split())
    assert "rows" not in shown[0]
    told = " ".join(shown[1])
    assert "rows table holds 1.2 MB for 300 training images of 1,000 classes in each trial" in told
    assert "with copies to save 3.6 MB of the memory" in told
