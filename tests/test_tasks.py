"""The shipped tasks: each loads, the general ones ask alike, the protocols are their papers'."""

import math
import re
from typing import Any, NamedTuple

import pytest

from trainables.config import Config, Task
from trainables.methods import METHODS
from tuning.holes import Hole, Log
from tuning.inputs import SHIPPED
from tuning.space import Plan, load

FILES = {path.stem: path for path in (SHIPPED / "tasks").glob("*.yaml")}
# images of the training source, and those that a source sets aside for validation itself
IMAGES = {
    "digits": 1438,
    "mnist": 60_000,
    "fashion-mnist": 60_000,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "cifair10-gem0": 500,
}
ASIDE = {"cifair10-gem0": 200}


def plan(methods: str, task: str, *settings: str) -> Plan:
    return load(methods, task=task, spaces=[], settings=settings, seed=0, study_flags={})


def task_of(name: str) -> Task:
    return plan("ce", name).example.task


def steps(task: Task) -> int:
    """Optimizer steps of a whole trial."""
    images = IMAGES[task.data]
    share = task.split.validation
    aside = ASIDE[task.data] if share == "source" else round(share * images)
    return task.epochs * math.ceil((images - aside) / task.optim.batch)


class Protocol(NamedTuple):
    """What a paper or its code fixes, worked from methods.md by hand.

    Attributes:
        noise: kind and rate.
        drops: epochs after which the learning rate is a tenth of what it was; of a cosine, none.
        floor: of the learning rate at the end, absolute.
    """

    data: str
    noise: tuple[str, float]
    statistics: str
    model: str
    augment: bool
    epochs: int
    batch: int
    lr: float
    decay: float
    drops: tuple[int, ...]
    floor: float
    counts: tuple[str, str]  # which epoch, and what is measured


LAST, BEST, LOSS = ("last", "val/acc"), ("best", "val/acc"), ("best", "val/loss")
INCLUSIVE = "symmetric-inclusive"
PROTOCOLS = {
    # 3.6, 3.7: the paper's 200 epochs, the code's decay; accuracy is that of the last epoch
    "mr-cifar10": Protocol("cifar10", (INCLUSIVE, 0.4), "cifar10", "resnet18", True, 200, 128,
                           0.1, 1e-4, (80, 120), 1e-3, LAST),
    "mr-cifar100": Protocol("cifar100", (INCLUSIVE, 0.4), "cifar100", "resnet18", True, 200, 128,
                            0.1, 1e-4, (80, 120), 1e-3, LAST),
    # 2.5, columns "CIFAR-10 R34 (SOP)" and "CIFAR-100 PRN18 (SOP+)", decay of the code
    "sop-cifar10": Protocol("cifar10", (INCLUSIVE, 0.4), "cifar10", "resnet34", True, 120, 128,
                            0.02, 5e-4, (40, 80), 2e-4, LAST),
    "sop-cifar100-sym50": Protocol("cifar100", (INCLUSIVE, 0.5), "cifar100", "preact-resnet18",
                                   True, 300, 128, 0.02, 1e-3, (), 2e-4, LAST),
    "sop-cifar100-asym40": Protocol("cifar100", ("asymmetric", 0.4), "cifar100", "preact-resnet18",
                                    True, 300, 128, 0.02, 1e-3, (), 2e-4, LAST),
    # 4.4, 10: best epoch on the noisy tenth; normalised by .1307, .3081
    "cdr-mnist": Protocol("mnist", ("symmetric", 0.4), "mnist", "lenet", False, 100, 32,
                          0.01, 1e-3, (10, 20), 1e-4, BEST),
    # 1.4: the README's example, and the defaults of the code
    "reset-cifar10": Protocol("cifar10", ("symmetric", 0.6), "cifar10-pixels", "resnet34", True,
                              256, 256, 0.1, 5e-4, (), 0.0, LOSS),
    "reset-cifair10": Protocol("cifair10-gem0", ("symmetric", 0.4), "cifar10-pixels", "vcnn", True,
                               3000, 32, 0.01, 1e-3, (), 0.0, LOSS),
}  # fmt: skip
OWN = sorted(FILES.keys() - PROTOCOLS.keys())  # ours: the learning rate is open


def test_the_tasks_that_are_shipped() -> None:
    general = {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100"}
    assert FILES.keys() == general | {"cifar10n-worst", "cifar100n"} | PROTOCOLS.keys()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_task_loads_with_every_method(name: str) -> None:
    for chain in plan(",".join(["ce", *METHODS]), name).chains:
        for start in chain.starts:
            assert Config.parse(chain.config(start)).chain == chain.chain


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_task_opens_with_a_command_that_is_right(name: str) -> None:
    first, blank, *rest = FILES[name].read_text(encoding="utf-8").split("\n")
    command = re.match(r"# python -m tuning\.search --method (\S+) --task (\S+)", first)
    assert command
    assert command[2] == name
    assert plan(command[1], name).name == name
    assert blank == "#"
    head = " ".join(line.lstrip("# ") for line in rest[: rest.index(f"data: {task_of(name).data}")])
    assert "No search reads a test label" in head
    for setting in re.findall(r"--set (?:'([^']+)'|([^\s':(]+=[^\s,:;)]+))", head):
        assert plan("ce,reset", name, setting[0] or setting[1].rstrip("."))
    for told in re.findall(r"([\d,]+) steps of (\d+) images", head):
        task = task_of(name)
        assert told == (f"{steps(task):,}", str(task.optim.batch))


@pytest.mark.parametrize("name", OWN)
def test_our_own_tasks_leave_the_same_hole(name: str) -> None:
    (hole,) = plan("ce", name).chains[0].holes
    domain = Log(0.005, 0.5) if name == "digits" else Log(0.003, 0.3)
    assert hole == Hole("optim/lr", domain)
    task = task_of(name)
    assert task.optim.model_dump(exclude={"lr", "batch"}) == Config().task.optim.model_dump(
        exclude={"lr", "batch"}
    )
    assert task.split.validation == (0.25 if name == "digits" else 0.1)
    kind = {"cifar10n-worst": "worst", "cifar100n": "fine"}.get(name)
    told = {"kind": "human", "set": kind} if kind else {"kind": "symmetric", "rate": 0.4}
    assert told.items() <= task.noise.plain.items()


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_protocol_is_its_papers(name: str) -> None:
    wanted = PROTOCOLS[name]
    found = plan("ce", name)
    assert not found.chains[0].holes
    config = found.example
    task, optim = config.task, config.task.optim
    schedule = config.make_schedule()
    kept = [optim.lr * schedule(epoch / task.epochs) for epoch in range(task.epochs + 1)]
    drops = [e for e in range(1, task.epochs + 1) if kept[e] < 0.5 * kept[e - 1]]
    cosine = optim.schedule.name == "cosine"
    assert wanted == Protocol(
        task.data,
        (task.noise.kind, task.noise.options["rate"]),
        task.statistics,
        task.model.name,
        task.augment,
        task.epochs,
        optim.batch,
        optim.lr,
        optim.decay,
        () if cosine else tuple(drops),
        round(kept[-1], 12),
        (config.select, config.metric),
    )
    assert (optim.name, optim.momentum, optim.nesterov) == ("sgd", 0.9, False)
    assert (task.precision, task.per_class) == ("fp32", None)
    assert (task.noise.seed, task.split.seed) == (0, 0)
    assert task.split.validation == ("source" if name == "reset-cifair10" else 0.1)
    assert task.noise.options.get("blocks") == ("ids" if "asym" in name else None)
    for epoch, lr in enumerate(kept if cosine else ()):
        half = (1 + math.cos(math.pi * epoch / task.epochs)) / 2
        assert lr == pytest.approx(wanted.floor + (wanted.lr - wanted.floor) * half)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@pytest.mark.parametrize("method", METHODS)
def test_a_protocol_opens_the_methods_knobs_only(method: str, name: str) -> None:
    (chain,) = plan(method, name).chains
    assert {hole.column.split("/")[0] for hole in chain.holes} <= {method}


@pytest.mark.parametrize(
    ("name", "lr"), [("mr-cifar10", 0.1), ("mr-cifar100", 0.1), ("sop-cifar10", 0.02)]
)
def test_the_authors_eta_is_tried_first_at_the_learning_rate_of_the_protocol(
    name: str, lr: float
) -> None:
    (chain,) = plan("mr", name).chains
    assert chain.starts == ({"mr/eta": 0.01, "mr/period": 1},)
    assert chain.config(chain.starts[0])["optim"]["lr"] == lr
    asked = "start[0] asks optim.lr 0.1; the task fixes 0.02"
    assert [note for note in chain.notes if asked in note] == list(chain.notes)
    assert bool(chain.notes) == (lr != 0.1)


def test_the_authors_resets_are_tried_first() -> None:
    (chain,) = plan("reset", "reset-cifar10").chains
    authors: dict[str, Any] = {"r": 1e-3, "patience": 0.1, "adaptive": True, "opt_reset": True}
    authors |= {"lr_on_reset": "checkpoint", "best": "loss"}
    assert chain.starts == ({f"reset/{key}": value for key, value in authors.items()},)
    assert not chain.notes


@pytest.mark.parametrize("name", ["reset-cifar10", "reset-cifair10"])
def test_no_trial_is_stopped_before_a_reset_could_begin(name: str) -> None:
    found = plan("reset", name)
    (patience,) = [h.domain for h in found.chains[0].holes if h.column == "reset/patience"]
    assert found.study["grace"] >= getattr(patience, "high", 1.0)


@pytest.mark.parametrize("name", [n for n, p in PROTOCOLS.items() if p.drops])
def test_trials_are_judged_after_the_learning_rate_first_drops(name: str) -> None:
    drops = PROTOCOLS[name].drops
    assert plan("mr", name).study["grace"] * PROTOCOLS[name].epochs > drops[0]


@pytest.mark.parametrize(("name", "wanted"), [("reset-cifair10", 30_000), ("cdr-mnist", 168_800)])
def test_steps_of_a_trial(name: str, wanted: int) -> None:
    assert steps(task_of(name)) == wanted
