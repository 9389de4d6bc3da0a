"""The authors' settings are start points of the shipped spaces, for the data they were made for.

The tables are those of the papers and codes, worked by hand.
"""

from typing import Any, NamedTuple

import pytest

from trainables.methods import METHODS
from tuning.space import ChainSpace, load

WIDE = "optim.lr={log: [1e-4, 1.0]}"  # every published learning rate lies in it
ASYMMETRIC = ("noise.kind=asymmetric", "noise.rate=0.4")
CLOTHING = ("data=clothing1m", "noise.kind=none", "split.validation=source")


def chain_space(methods: str, task: str, *settings: str) -> ChainSpace:
    plan = load(methods, task=task, spaces=[], settings=[*settings, WIDE], seed=0, study_flags={})
    return plan.chains[0]


class Preset(NamedTuple):
    """A published setting.

    Attributes:
        method: whose it is.
        task: a shipped one, changed by `settings`.
        lr: of the network; None where the source gives none.
        values: of the method's knobs.
    """

    method: str
    task: str
    settings: tuple[str, ...]
    lr: float | None
    values: dict[str, Any]


def sop(task: str, lr_u: float, lr_v: float, *settings: str, lr: float = 0.02) -> list[Preset]:
    """Of SOP, and of SOP+ with its two weights where the table has a column for it."""
    steps = {"lr_u": lr_u, "lr_v": lr_v, "init": 1e-8}
    found = [Preset("sop", task, settings, lr, steps)]
    if settings != CLOTHING:
        more = steps | {"consistency": 0.9, "balance": 0.1}
        found.append(Preset("sop-plus", task, settings, lr, more))
    return found


README = {"r": 1e-3, "patience": 0.1, "adaptive": True, "opt_reset": True}
README |= {"lr_on_reset": "checkpoint", "best": "loss"}
# 1,000 of 30,000 steps, as its help text says
ARGPARSE = {"r": 0.01, "patience": 0.0333, "adaptive": False, "opt_reset": False, "best": "loss"}
PRESETS = [
    *sop("sop-cifar10", 10, 10),
    *sop("cifar10", 10, 10),
    *sop("cifar10n-worst", 10, 10),
    *sop("cifar10", 10, 100, *ASYMMETRIC),
    *sop("sop-cifar100-sym50", 1, 10),
    *sop("cifar100n", 1, 10),
    *sop("sop-cifar100-asym40", 1, 100),  # the paper
    *sop("sop-cifar100-asym40", 0.1, 100),  # the code
    *sop("cifar10", 0.1, 1, *CLOTHING, lr=0.002),
    Preset("mr", "mr-cifar10", (), 0.1, {"eta": 0.01, "period": 1}),
    Preset("mr", "mr-cifar100", (), 0.1, {"eta": 0.01, "period": 1}),
    Preset("mr", "cifar10", CLOTHING, 0.01, {"eta": 0.01, "period": 0.5}),
    Preset("reset", "reset-cifar10", (), 0.1, README),
    Preset("reset", "reset-cifair10", (), 0.01, ARGPARSE),
    *(
        Preset("cdr", task, (), 0.01, {"rate": 0.4, "gradual": gradual})
        for task in ("cdr-mnist", "fashion-mnist", "cifar10", "cifar100")
        for gradual in (0.0, 0.1)
    ),
    Preset("sce", "cifar10", (), None, {"alpha": 0.1, "beta": 1.0}),
    Preset("sce", "cifar100", (), None, {"alpha": 6.0, "beta": 0.1}),
    Preset("elr", "cifar10", (), None, {"lambda": 3.0, "beta": 0.7}),
    Preset("elr", "cifar100", (), None, {"lambda": 7.0, "beta": 0.9}),
    Preset("gce", "cifar10", (), None, {"q": 0.7}),
    Preset("mixup", "cifar10", (), 0.1, {"alpha": 1.0}),
    Preset("smooth", "mr-cifar10", (), 0.1, {"rate": 0.1, "spread": "others"}),
]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: f"{p.method}-{p.task}")
def test_a_published_setting_is_tried_first(preset: Preset) -> None:
    chain = chain_space(preset.method, preset.task, *preset.settings)
    wanted = {f"{preset.method}/{key}": value for key, value in preset.values.items()}
    wanted |= {} if preset.lr is None else {"optim/lr": preset.lr}
    assert any(wanted.items() <= start.items() for start in chain.starts), chain.starts
    # a point that asks for what its own data cannot have would be told here
    assert chain.notes == ()


def test_asymmetric_settings_stay_with_asymmetric_noise() -> None:
    assert all(start["sop/lr_v"] == 10 for start in chain_space("sop", "cifar100").starts)
    assert all(start["sop/lr_v"] == 10 for start in chain_space("sop", "cifar10").starts)


@pytest.mark.parametrize("name", ["ce", *METHODS])
def test_a_search_of_eight_trials_is_not_all_start_points(name: str) -> None:
    assert 1 <= len(chain_space(name, "digits").starts) <= 3


@pytest.mark.parametrize("typed", ["aux+sop", "mr+sop+aux+cdr"])
def test_redundant_methods_are_noted(typed: str) -> None:
    first, *_ = (name for name in typed.split("+") if name.startswith("sop"))
    told = f"{first} and aux both take up wrong labels (either alone does)"
    assert told in chain_space(typed, "digits").notes


@pytest.mark.parametrize("typed", ["mr+sop", "aux+cdr", "elr+aux", "cdr+rdi"])
def test_other_pairs_are_not(typed: str) -> None:
    assert chain_space(typed, "digits").notes == ()
