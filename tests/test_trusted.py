"""The trusted set: true labels, cut out of training, reported, and never selected on."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy
from toys import differences, finish, small, state_of, tiny, untimed

from trainables.config import Config, Split
from trainables.data import dataset
from trainables.data.dataset import Dataset, prepare
from trainables.data.resident import Resident, scaled
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method
from tuning import manifest
from tuning.forecast import parts
from tuning.space import load
from tuning.store import Store


def split(**fields: Any) -> Dataset:
    return prepare(Config.parse({"noise": {"rate": 0.4}, "split": fields}).task)


@pytest.fixture(scope="module")
def trusting() -> Dataset:
    """300 training, 100 validation and 144 trusted rows of digits."""
    whole = split(trusted=0.1)
    return replace(whole, train=whole.train[:300], validation=whole.validation[:100])


# Which rows


@pytest.mark.parametrize("fields", [{}, {"seed": 1}, {"validation": 0.4}])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_it_is_cut_out_of_training_alone(share: float, fields: dict[str, Any]) -> None:
    before, after = split(**fields), split(trusted=share, **fields)
    assert len(before.trusted) == 0
    np.testing.assert_array_equal(after.validation, before.validation)
    np.testing.assert_array_equal(np.union1d(after.train, after.trusted), before.train)
    assert len(after.train) + len(after.trusted) == len(before.train)
    assert len(after.trusted) == round(share * 1438)
    assert (np.diff(after.trusted) > 0).all()
    assert (after.noise.hash, after.noise.rate) == (before.noise.hash, before.noise.rate)
    assert torch.equal(after.given, before.given)


def test_it_is_stratified_by_the_true_labels() -> None:
    data = split(trusted=0.1)
    rest = np.union1d(data.train, data.trusted)
    clean, given = data.clean.numpy(), data.given.numpy()
    expected = np.bincount(clean[rest]) * len(data.trusted) / len(rest)
    assert (np.abs(np.bincount(clean[data.trusted]) - expected) < 1).all()
    assert np.abs(np.bincount(given[data.trusted], minlength=10) - expected).max() > 1
    assert set(split(trusted=0.1, seed=1).trusted) != set(data.trusted)


def test_the_share_is_of_the_whole_source() -> None:
    task = Config.parse({"per_class": 20, "split": {"trusted": 0.1}}).task
    assert (len(prepare(task).train), len(prepare(task).trusted)) == (130, 20)


def test_a_class_without_a_trusted_row_is_allowed() -> None:
    data = split(trusted=0.003)
    assert len(data.trusted) == 4
    assert len(np.unique(data.clean.numpy()[data.trusted])) == 4


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"trusted": 0.75},
            "split.trusted = 0.75: leaves no training image of 1438 beside split.validation = 0.25 "
            "(choose smaller shares)",
        ),
        ({"trusted": 0.9, "validation": 0.9}, "split.trusted = 0.9: leaves no training image"),
        ({"trusted": 1e-5}, "split.trusted = 1e-05: is no image of 1438 (choose a larger share)"),
        ({"trusted": 0.0}, "split.trusted = 0.0: must be above 0"),
        ({"trusted": 1.0}, "split.trusted = 1.0: must be below 1"),
        ({"trusted": float("nan")}, "split.trusted = nan: must be a finite number"),
        ({"trusted": True}, "split.trusted = True: must be a number"),
        ({"trustd": 0.1}, "split.trustd: unknown field (did you mean trusted?)"),
    ],
)
def test_a_share_that_cannot_be_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        split(**fields)
    assert "\n" not in str(refused.value)


def test_labels_that_nobody_knows_cannot_be_trusted() -> None:
    task = Config().task.model_copy(update={"data": "animal-10n", "split": Split(trusted=0.1)})
    with pytest.raises(ConfigError, match="nobody knows the true labels of animal-10n"):
        dataset._trusted(task, np.arange(9), np.arange(9))


# Who needs one


@dataclass
class Needy(Method):
    needs_trusted: ClassVar[bool] = True


def test_a_method_that_needs_one_is_refused_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "needy", Needy)
    cured = {"methods": {"needy": {}}, "split": {"trusted": 0.02}}
    assert Config.parse(cured).chain == "needy"
    told = r"needy needs a trusted set.* \(split.trusted: 0.02\)$"
    for fields in ({}, {"trusted": None}):
        with pytest.raises(ConfigError, match=told):
            Config.parse({**cured, "split": fields})


def test_a_share_is_kept_by_a_config_written_and_read() -> None:
    for share in (None, 0.02):
        config = Config.parse({"split": {"trusted": share}})
        assert config.task.split.trusted == share
        assert Config.parse(config.plain) == config


# What is reported


def test_what_a_device_holds_of_it(trusting: Dataset) -> None:
    held = Resident(trusting, torch.device("cpu"), None)
    rows = trusting.rows[trusting.trusted]
    assert torch.equal(held.trusted(slice(2, 5)), trusting.images[rows[2:5]])
    assert torch.equal(held.trusted_labels, trusting.clean[trusting.trusted])
    assert not torch.equal(held.trusted_labels, trusting.given[trusting.trusted])


def test_an_epoch_ends_with_its_score_in_evaluation_mode(trusting: Dataset) -> None:
    loop = Loop(tiny({"reset": {}}, epochs=2), trusting, device="cpu")
    reports = []
    while not loop.ended:
        report = loop.train()
        reports.append(report)
        assert ("trusted/acc" in report) == ("trusted/loss" in report) == bool(report["scored"])
    assert 0 in {report["scored"] for report in reports}
    loop.model.eval()
    with torch.no_grad():
        logits = loop.forward(scaled(loop.data.trusted(slice(None))))
    labels = trusting.clean[trusting.trusted]
    last = reports[-1]
    assert last["trusted/acc"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert last["trusted/loss"] == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)


def test_looking_at_it_changes_nothing(trusting: Dataset) -> None:
    config = tiny({"mr": {}}, epochs=2)
    watched = Loop(config, trusting, device="cpu")
    alone = Loop(config, replace(trusting, trusted=trusting.trusted[:0]), device="cpu")
    for one, other in zip(finish(watched), finish(alone), strict=True):
        seen = {key: value for key, value in one.items() if not key.startswith("trusted/")}
        assert untimed(seen) == untimed(other)
    assert not differences(state_of(watched), state_of(alone))


def test_a_diverged_trial_reports_finite_numbers(trusting: Dataset) -> None:
    report = Loop(tiny(optim={"lr": 1e30}), trusting, device="cpu").train()
    assert report["diverged"] == 1
    assert report["trusted/loss"] == pytest.approx(10 * np.log(10))


@pytest.mark.parametrize("flag", [True, False])
def test_nobody_selects_on_it(flag: bool) -> None:
    flags = {"metric": "trusted/acc"} if flag else {}
    settings = [] if flag else ["study.metric=trusted/acc"]
    with pytest.raises(
        ConfigError, match=r"study.metric = 'trusted/acc': must be one of 'val/acc'"
    ):
        load("ce", task="digits", spaces=[], settings=settings, seed=0, study_flags=flags)


# What is written


def test_the_plan_counts_it(trusting: Dataset) -> None:
    assert parts(trusting) == "300 training, 100 validation and 144 trusted"
    assert parts(small()) == "300 training and 100 validation"


def test_labels_and_manifest_tell_of_it(tmp_path: Path) -> None:
    data = split(trusted=0.1)
    settings = ["split.trusted=0.1"]
    plan = load("ce", task="digits", spaces=[], settings=settings, seed=0, study_flags={})
    assert manifest.describe(plan, data, [])["split"] == {
        "train": 934,
        "validation": 360,
        "trusted": 144,
    }
    manifest.write_labels(Store(tmp_path), data)
    table = pq.read_table(tmp_path / "labels.parquet")
    told = np.array(table["split"].to_pylist())
    for name in ("train", "validation", "trusted"):
        np.testing.assert_array_equal(np.flatnonzero(told == name), getattr(data, name))
    np.testing.assert_array_equal(table["clean"].to_numpy(), data.clean.numpy())
