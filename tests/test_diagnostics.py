"""What is told of right and wrong labels: exact, only where there is a truth, never to a method."""

from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from bites import LIVE
from torch import Tensor
from toys import differences, finish, state_of, tiny, untimed

from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.diagnostics import SHARES, auc, told, wrong_on_top
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method, Run
from tuning.search import main
from tuning.settings import merged

TRUTH = {"train/memorised", "train/corrected"}

# The area under the curve, the tops


def counted(suspicion: Tensor, wrong: Tensor) -> float:
    """Share of the pairs of a wrong and a right label in which the wrong one is distrusted more."""
    pairs = suspicion[wrong][:, None] - suspicion[~wrong][None]
    return float((pairs > 0).double().mean() + (pairs == 0).double().mean() / 2)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("count", [2, 3, 50, 201])
def test_auc_counts_pairs(count: int, levels: int) -> None:
    """Few levels make many ties."""
    draws = torch.Generator().manual_seed(1000 * count + levels)
    for _ in range(20):
        suspicion = torch.randint(levels, (count,), generator=draws) / 7 - 3
        wrong = torch.rand(count, generator=draws) < 0.4
        wrong[0], wrong[-1] = True, False
        assert auc(suspicion, wrong) == pytest.approx(counted(suspicion, wrong), abs=1e-12)


def test_auc_at_its_ends() -> None:
    wrong = torch.tensor([True, True, False, False, False])
    perfect = torch.tensor([2.0, 3.0, 1.0, 0.0, -torch.inf])
    assert auc(perfect, wrong) == 1
    assert auc(-perfect, wrong) == 0
    assert auc(torch.zeros(5), wrong) == 0.5
    assert auc(perfect.double().exp() + 1e9, wrong) > 0.99  # ranks only


@pytest.mark.parametrize(
    ("count", "sizes"), [(200, (2, 20, 50, 100)), (7, (1, 1, 1, 3)), (2, (1, 1, 1, 1))]
)
def test_tops_are_of_the_most_distrusted(count: int, sizes: tuple[int, ...]) -> None:
    draws = torch.Generator().manual_seed(count)
    suspicion, wrong = torch.randperm(count, generator=draws), torch.arange(count) % 3 == 0
    found = wrong_on_top(suspicion.float(), wrong)
    for share, size in zip(SHARES, sizes, strict=True):
        threshold = suspicion.sort().values[-size]
        assert found[f"top{share}"] == float(wrong[suspicion >= threshold].double().mean())


def test_names_and_means() -> None:
    wrong = torch.tensor([True, False, False, True])
    suspicion = torch.tensor([3.0, 0.0, 1.0, 2.0])
    given = told({"a": suspicion}, {"a/size": torch.tensor([1.0, 2.0, 4.0, 8.0])}, wrong)
    assert given == {
        "a/wrong/auc": 1.0,
        "a/wrong/top1": 1.0,
        "a/wrong/top10": 1.0,
        "a/wrong/top25": 1.0,
        "a/wrong/top50": 1.0,
        "a/size/wrong": 4.5,
        "a/size/right": 3.0,
    }


# Shares of wrong labels learned


class Answers(torch.nn.Module):
    """Answers for each row of the next batch as it was told to."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.functional.one_hot(answers, 10).float()
        self.slope = torch.nn.Parameter(torch.ones(()))
        self.batch = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * (self.logits[self.batch] if self.training else x.flatten(1)[:, :10])


def answering(data: Dataset, answers: Tensor) -> Loop:
    """A loop whose network predicts these classes for the training rows."""
    loop = Loop(tiny(optim={"lr": 1e-9}), data)
    model, next_index = Answers(answers), loop._next_index

    def noted() -> Tensor:
        model.batch = next_index()
        return model.batch

    loop._next_index = noted  # type: ignore[method-assign]
    loop._network = loop.model = model
    return loop


def test_memorised_and_corrected_shares_by_hand(data: Dataset) -> None:
    """Of wrong labels a half is predicted as given, a quarter as in truth; right ones are not."""
    given, clean = (labels[torch.from_numpy(data.train)] for labels in (data.given, data.clean))
    wrong = (given != clean).nonzero()[:, 0]
    neither = [min({0, 1, 2} - {int(g), int(c)}) for g, c in zip(given, clean, strict=True)]
    answers = torch.tensor(neither)
    half, quarter = wrong[: len(wrong) // 2], wrong[len(wrong) // 2 : len(wrong) * 3 // 4]
    answers[half], answers[quarter] = given[half], clean[quarter]
    report = answering(data, answers).train()
    assert len(wrong) > 90
    assert report["train/memorised"] == pytest.approx(len(half) / len(wrong))
    assert report["train/corrected"] == pytest.approx(len(quarter) / len(wrong))
    assert report["train/acc"] == pytest.approx(len(half) / 300)
    assert marks(answering(clean_data(data), answers).train()) == set()


def test_shares_within_an_epoch_are_of_the_rows_seen(data: Dataset) -> None:
    """A report may end inside an epoch."""
    given, clean = (labels[torch.from_numpy(data.train)] for labels in (data.given, data.clean))
    for answers, shares in ((given, (1, 0)), (clean, (0, 1))):
        loop = answering(data, answers)
        for _ in range(3):
            loop.keep()
            report = loop.train()
            assert not report["scored"]
            assert (report["train/memorised"], report["train/corrected"]) == shares


def marks(report: dict[str, Any]) -> set[str]:
    """What of a report needs the truth."""
    ends = ("/wrong", "/right")
    return {key for key in report if key in TRUTH or "/wrong/" in key or key.endswith(ends)}


def clean_data(data: Dataset) -> Dataset:
    return replace(data, given=data.clean)


def wrong_data(data: Dataset) -> Dataset:
    return replace(data, clean=(data.given + 1) % 10)


@pytest.mark.parametrize("name", METHODS)
def test_they_come_where_some_labels_are_known_to_be_wrong(name: str, data: Dataset) -> None:
    loop = Loop(tiny({name: LIVE[name]}), data)
    method = loop.chain.methods[name]
    reports = finish(loop)
    names = set(told(loop.chain.suspicions(), loop.chain.rows(), loop.wrong))
    assert bool(names) == (method.suspicion() is not None or bool(method.rows()))
    assert all(key.startswith(f"{name}/") for key in names)
    for report in reports:
        assert marks(report) == TRUTH | (names if report["scored"] else set())
        assert all(np.isfinite(report[key]) for key in marks(report))


@pytest.mark.parametrize("name", METHODS)
def test_suspicion_is_one_number_an_example(name: str, data: Dataset) -> None:
    loop = Loop(tiny({name: LIVE[name]}), data)
    finish(loop)
    method = loop.chain.methods[name]
    values = dict(method.rows())
    suspicion = method.suspicion()
    if suspicion is not None:
        values["suspicion"] = suspicion
    for value in values.values():
        assert value.shape == (300,)
        assert value.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_told_of_labels_that_are_all_right(name: str, data: Dataset) -> None:
    assert not any(marks(report) for report in finish(Loop(tiny({name: {}}), clean_data(data))))


def test_of_labels_that_are_all_wrong_only_shares_are_told(data: Dataset) -> None:
    report = Loop(tiny({"mr": {}, "aux": {}}), wrong_data(data)).train()
    assert marks(report) == TRUTH


# What methods see


@pytest.mark.parametrize("name", METHODS)
def test_the_truth_changes_nothing_in_a_training(name: str, data: Dataset) -> None:
    """Neither weights, nor memories, nor scores: only what is told."""
    ends, reports = [], []
    for given in (data, replace(data, clean=data.given), wrong_data(data)):
        loop = Loop(tiny({name: LIVE[name]}), given)
        reports.append([untimed(report) for report in finish(loop)])
        ends.append(state_of(loop) | {"sums": loop.sums[:2].clone()})
    for end, report in zip(ends[1:], reports[1:], strict=True):
        assert differences(end, ends[0]) == []
        for one, other in zip(report, reports[0], strict=True):
            kept = one.keys() - marks(one)
            assert kept == other.keys() - marks(other)
            assert {key: one[key] for key in kept} == {key: other[key] for key in kept}


class Seen:
    """A run of which only what `Run` names can be had."""

    names = {name for name in vars(Run) if not name.startswith("_")} | set(get_type_hints(Run))

    def __init__(self, run: Loop) -> None:
        self._run = run

    def __getattr__(self, key: str) -> Any:
        if key in Seen.names:
            return getattr(self._run, key)
        raise AttributeError(f"no method may look at {key}")


@pytest.mark.parametrize("name", METHODS)
def test_methods_look_at_nothing_but_what_a_run_shows(
    name: str, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Seen.names & {"data", "wrong", "clean", "_marks", "chain", "config"}
    loop = Loop(tiny({name: LIVE[name]}), data)
    method = loop.chain.methods[name]
    method.start(Seen(loop))  # type: ignore[arg-type]
    for hook in ("batch", "logits", "loss", "penalty", "grads", "step", "epoch"):
        called = getattr(method, hook)

        def guarded(*given: Any, called: Any = called) -> Any:
            return called(*given[:-1], Seen(given[-1]))

        monkeypatch.setattr(method, hook, guarded)
    assert len(finish(loop)) >= 2


def test_a_method_that_looks_further_is_stopped(data: Dataset) -> None:
    class Peeping(Method):
        def start(self, run: Any) -> None:
            self.wrong = run.wrong

    with pytest.raises(AttributeError, match="no method may look at wrong"):
        Peeping().start(Seen(Loop(tiny(), data)))


# What can be selected on


@pytest.mark.parametrize(
    "metric", ["train/corrected", "train/memorised", "mr/wrong/auc", "train/acc", "aux/acc"]
)
def test_no_diagnostic_can_be_selected_on(metric: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.parse({"metric": metric})
    assert str(error.value).startswith(f"metric = {metric!r}: must be one of 'val/acc' or")
    with pytest.raises(ConfigError) as error:
        merged([(f"--metric {metric}", {"metric": metric})])
    assert str(error.value).startswith(f"--metric {metric}: study.metric = {metric!r}: must be one")
    assert "\n" not in str(error.value)


def test_a_search_on_a_diagnostic_ends_before_it_begins(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--method", "mr", "--metric", "mr/wrong/auc"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--metric mr/wrong/auc" in err
    assert not list(tmp_path.iterdir())
