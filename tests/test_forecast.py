"""What a trial costs: measured in little time, and told in full."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor
from toys import tiny

from trainables import cost
from trainables.cost import Cost, least_on_gpu, measure, try_out
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.passes import Passes
from tuning import forecast
from tuning.allocate import dealer_of
from tuning.resources import Resources
from tuning.space import Plan, load


class Clock:
    """Stands for the time: training and passes move it, nothing else does."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cost, "time", made)
    return made


def slowed(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, steps: Callable[[int], float], row: float
) -> None:
    """Each step takes `steps(number)` seconds, each pass `row` an image."""
    train, over = Loop._train_step, Passes.over

    def step(loop: Loop) -> float:
        clock.now += steps(loop.step)
        return train(loop)

    def passed(passes: Passes, logits: Callable[[slice], Tensor], count: int) -> Tensor:
        clock.now += row * count
        return over(passes, logits, count)

    monkeypatch.setattr(Loop, "_train_step", step)
    monkeypatch.setattr(Passes, "over", passed)


def test_a_short_epoch_is_measured_as_a_whole(
    data: Dataset, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MR with a period of half an epoch passes twice over the training images, not once."""
    config = tiny(epochs=5, methods={"mr": {"period": 0.5}})
    slowed(monkeypatch, clock, lambda number: 0.01, 0.0001)
    found = measure(config, data, 1)
    assert (found.steps, found.whole) == (10, True)
    assert found.seconds == pytest.approx(5 * (10 * 0.01 + 0.0001 * (100 + 2 * 300)))


def test_a_long_epoch_is_steps_and_passes(
    data: Dataset, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, clock, lambda number: 0.5, 0.0)
    monkeypatch.setattr(cost, "_pass_seconds", lambda loop, count: 0.01)
    found = measure(tiny(epochs=5), data, 1)
    assert (found.steps, found.whole) == (6, False)  # no further one after three seconds
    assert found.seconds == pytest.approx(5 * (0.5 * 10 + 0.01 * (100 + 300)))


@pytest.mark.parametrize("warm", [0.001, 1.0, 30.0])
@pytest.mark.parametrize("epochs", [1, 5])
def test_a_slow_first_step_is_never_measured(
    epochs: int, warm: float, data: Dataset, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compiles, say for a minute, and a trial has only one."""
    slowed(monkeypatch, clock, lambda number: 60.0 if number == 0 else warm, 0.0)
    found = measure(tiny(epochs=epochs), data, 1)
    assert found.steps >= 1
    assert found.seconds == pytest.approx(epochs * 10 * warm)


def test_a_slow_first_pass_is_never_measured(
    data: Dataset, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = iter([50.0])
    loop = Loop(tiny(), data, device="cpu")

    def passed(passes: Passes, logits: object, count: int) -> None:
        clock.now += next(took, 0.5)

    monkeypatch.setattr(Passes, "over", passed)
    assert cost._pass_seconds(loop, 100) == pytest.approx(0.5 / 100)


@pytest.mark.parametrize("warm", [0.001, 4.0])
@pytest.mark.parametrize("rows", [2, 32, 33, 40])
def test_a_trial_shorter_than_a_measurement_has_a_cost(
    rows: int, warm: float, data: Dataset, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, clock, lambda number: 60.0 if number == 0 else warm, 0.0)
    found = measure(tiny(epochs=1), replace(data, train=data.train[:rows]), 1)
    assert found.steps >= 1
    assert found.seconds == pytest.approx(warm * (2 if rows == 40 else 1))


def test_a_trial_that_diverges_has_a_cost(data: Dataset) -> None:
    wild = tiny(epochs=2, optim={"lr": 1e30}, methods={"mr": {"period": 0.5}, "reset": {}})
    found = measure(wild, replace(data, train=data.train[:64]), 1)
    assert found.steps == 2
    assert found.seconds > 0


def test_images_need_not_be_in_memory(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A map is cached where there is room; a study larger than memory is no reason to warn."""
    plan = load("ce", task="digits", spaces=[], settings=[], seed=0, study_flags={})
    some = Cost(1.0, 1000, 5000, 0, 20, False)
    monkeypatch.setattr(forecast, "cost", lambda *args: some)
    monkeypatch.setattr(forecast, "free_memory", lambda: 4 * 10**9)
    huge = replace(data, images=data.images[:1].expand(10**11, -1, -1, -1))
    told = shown(plan, huge, tmp_path)
    assert "warning" not in told
    assert "6400.0 GB of images, which the system caches where there is room" in told
    assert "time     about " in told
    assert "at most" not in told
    assert "measured 20 steps of each chain with its first settings, after a first one" in told


@pytest.mark.parametrize(
    ("allocate", "methods", "expected"),
    [
        ("equal", "ce,mr", "6 min 45 s"),  # 3 x 10 s + 3 x 250 s, on two cores, and Ray's start
        # 1 x 10 s + 2 x 250 s, and 3 trials of either chain
        ("adaptive", "ce,mr", "4 min 45 s to 10 min 45 s"),
        ("adaptive", "mr", "12 min 45 s"),
    ],
)
def test_the_time_depends_on_whom_trials_may_go_to(
    allocate: str,
    methods: str,
    expected: str,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    flags = {"trials": 6, "allocate": allocate}
    plan = load(methods, task="digits", spaces=[], settings=[], seed=0, study_flags=flags)
    seconds = {"ce": 10.0, "mr": 250.0}
    monkeypatch.setattr(
        forecast, "cost", lambda plan, chain, *_: Cost(seconds[chain.chain], 9, 9, 0, 20, False)
    )
    assert f"time     about {expected}, were no trial" in shown(plan, data, tmp_path)


@pytest.mark.parametrize("compiles", ["true", "false"])
def test_compiling_is_told_of_it_is_not_measured(
    compiles: str, data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = [f"compile={compiles}"]
    plan = load("ce", task="digits", spaces=[], settings=given, seed=0, study_flags={})
    monkeypatch.setattr(forecast, "cost", lambda *args: Cost(1.0, 1000, 5000, 0, 20, False))
    assert ("a minute for each trial" in shown(plan, data, tmp_path)) == (compiles == "true")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([10, 34], "1 epoch"), ([1, 0], "1 step"), ([1, 20], "1 step or more"), ([20, 0], "20 steps")],
)
def test_it_is_told_how_it_was_measured(steps: list[int], expected: str) -> None:
    costs = [Cost(1.0, 1, 1, 0, count, expected == "1 epoch") for count in steps if count]
    assert forecast.told(costs) == expected


def shown(plan: Plan, data: Dataset, folder: Path) -> str:
    """The plan's lines, each on one line again; none was wider than 80 columns."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(forecast.forecast(plan, data, Resources(1, 0, 2), folder, None), soft_wrap=True)
    text = console.export_text()
    lines = text.partition("\n\n")[0]
    assert max(len(line) for line in lines.splitlines() if str(folder) not in line) <= 80
    return lines.replace("\n" + forecast.INDENT, " ")


def test_a_checkpoint_holds_state_selected_weights_and_kept_state(data: Dataset) -> None:
    found = measure(tiny(epochs=5), data, 1)
    weights = try_out(tiny(), data)
    assert found.weights == weights
    # state: weights and momentum; selected: weights; kept: weights and momentum
    assert 4.9 * weights < found.checkpoint < 5.1 * weights + 4096
    assert found.on_gpu == 0


def test_on_a_gpu_are_images_and_several_copies_of_the_weights(data: Dataset) -> None:
    images = data.images[0].nbytes * len(data.rows)
    sgd, plain, adam = (
        least_on_gpu(tiny(optim=optim), data, 1000, 10**9) - cost.CONTEXT_BYTES - images
        for optim in ({}, {"momentum": 0.0}, {"name": "adam"})
    )
    assert (sgd, plain, adam) == (7000, 5000, 9000)


def test_images_larger_than_a_gpu_are_not_copied_there(data: Dataset) -> None:
    small = least_on_gpu(tiny(), data, 1000, data.images[0].nbytes * len(data.rows))
    assert small == cost.CONTEXT_BYTES + 7000


@pytest.mark.gpu
def test_what_is_measured_on_a_gpu_holds_what_is_copied_there(data: Dataset) -> None:
    found = measure(tiny(epochs=5), data, 1, "cuda")
    assert found.on_gpu >= least_on_gpu(tiny(), data, found.weights, 2**40)
    assert found.seconds > 0


def test_a_population_saves_all_its_members_at_a_time() -> None:
    flags = {"trials": 8}
    for scheduler, wanted in (("pbt", 8), ("asha", 2)):
        given = load(
            "mr",
            task="digits",
            spaces=[],
            settings=[],
            seed=0,
            study_flags={**flags, "scheduler": scheduler},
        )
        assert forecast.savers(given, dealer_of(given), 2) == wanted
