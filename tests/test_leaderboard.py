"""What the leaderboard computes: the long tail, choices of epochs, differences, regrets."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cdr_mnist, knobs, leaderboard, trained
from benchmarks.ranking import RULE, Entrant, regrets, scored, table, worse
from benchmarks.tail import RATIO, tailed_home
from benchmarks.trained import Run, regret
from trainables.config import Config
from trainables.data.dataset import prepare, probe_images
from trainables.methods.chain import name_of, parse
from trainables.select import RULES
from tuning.space import load

LABELS = np.array([0, 1, 2, 3])
ALL, HALF, NONE = [0, 1, 2, 3], [0, 1, 0, 0], [3, 3, 3, 0]


def run(validation: list[float], predicted: list[list[int]]) -> Run:
    return Run(np.array(validation), np.array(predicted))


FALLING = run([0.5, 0.6, 0.4], [HALF, ALL, NONE])  # `best` finds its best epoch
MISLED = run([0.6, 0.5, 0.4], [HALF, ALL, NONE])
FLAT = run([0.5, 0.5, 0.5], [HALF, HALF, HALF])


def test_the_tail_is_exponential_and_only_in_training():
    test = probe_images("digits")
    home = os.environ["NOISETUNE_HOME"]
    with tailed_home():
        data = prepare(Config.parse({}).task)
        assert probe_images("digits").equal(test)
    counts = np.bincount(data.clean.numpy(), minlength=10)
    steps = counts[1:] / counts[:-1]
    assert counts[0] / counts[-1] == pytest.approx(RATIO, rel=0.1)
    assert np.allclose(steps, RATIO ** (-1 / 9), rtol=0.15)
    assert os.environ["NOISETUNE_HOME"] == home
    assert len(prepare(Config.parse({}).task).clean) > 2 * len(data.clean)


def test_regret_is_against_the_best_epoch_on_clean_labels():
    found = {rule: regret([FALLING, MISLED], rule, LABELS).tolist() for rule in RULES}
    assert found["best"] == [0.0, 0.5]
    assert found["last"] == [1.0, 1.0]


def test_chains_are_ranked_and_paired_by_seed():
    entered = {"ce": Entrant({}, [FLAT, FALLING]), "mr": Entrant({}, [FALLING, FALLING])}
    rows = scored(entered, LABELS)
    assert list(rows) == ["mr", "ce"]
    assert rows["mr"].gains[0].tolist() == [0.5, 0.0]
    assert rows["mr"].gains[1].tolist() == [-0.5, 0.0]
    assert "| mr | 100.0 +- 0.0 | 0.0 +- 0.0 | +25.0 +- 35.4 | 1/2 |" in table(rows)[2]
    assert table(rows)[3].startswith("| ce | 75.0 +- 35.4 | 25.0 +- 35.4 |  |  |")
    assert worse({"x": rows}) == []  # -25 points with a spread of 35


def test_what_is_worse_than_its_spread_is_told():
    entered = {"ce": Entrant({}, [FALLING, FALLING]), "mr": Entrant({}, [MISLED, FLAT])}
    told = worse({"x": scored(entered, LABELS)})
    assert told == ["- x: mr, selected epoch, -50.0 +- 0.0"]


def test_regrets_name_the_worst_chain():
    good = scored({"ce": Entrant({}, [FALLING])}, LABELS)
    bad = scored({"ce": Entrant({}, [MISLED]), "mr": Entrant({}, [FALLING])}, LABELS)
    lines = regrets({"a": good, "b": bad})
    assert RULES.index(RULE) == 1
    assert [line.split(" | ")[2] for line in lines[2:]] == ["0.0", "25.0", "16.7", "50.0 (ce, b)"]


def test_every_chain_is_legal_and_of_the_five_noises_all_can_be_had():
    assert [name_of(parse(chain)) for chain in leaderboard.CHAINS] == list(leaderboard.CHAINS)
    assert len(leaderboard.COMBINATIONS) == 8
    for case in leaderboard.CASES.values():
        plan = load(
            "ce", task="digits", spaces=[], settings=case.settings(3), seed=0, study_flags={}
        )
        task = plan.example.task
        share = 0.5 if case.kind == "asymmetric" else 1.0  # of the images, with a look-alike class
        assert prepare(task).noise.rate == pytest.approx(share * case.rate, abs=0.01)
        assert (task.epochs, plan.study["select"]) == (3, RULE)


def test_what_is_trained_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = {"epochs": 2, "model": "fcnn", "optim": {"batch": 256}}
    (tmp_path / "runs").mkdir()
    first = trained.train(tmp_path, plain)
    monkeypatch.delattr(trained, "Loop")
    again = trained.train(tmp_path, plain)
    assert first.predicted.shape == (2, 359)
    assert np.array_equal(again.predicted, first.predicted)


@pytest.mark.parametrize("name", knobs.SWEEPS)
def test_every_value_of_a_knob_is_legal(name: str):
    sweep = knobs.SWEEPS[name]
    assert list(sweep.values) == sorted(sweep.values)
    for value in (None, *sweep.values):
        config = Config.parse(knobs.config_of(sweep, value, seed=1, epochs=3))
        assert config.chain == ("ce" if value is None else sweep.method)
        assert (config.task.noise.seed, config.task.epochs) == (1, 3)


def test_curves_hold_mean_and_spread_in_percent():
    drawn = knobs.curves([0.1, 1.0], [FLAT], [[FALLING, FLAT], [FLAT, FLAT]], LABELS)
    assert [curve.name for curve in drawn][:2] == ["selected epoch", "ce, selected epoch"]
    assert list(drawn[0].y) == [75.0, 50.0]
    assert drawn[0].error == pytest.approx([35.355, 0.0], abs=1e-3)
    assert (list(drawn[1].x), list(drawn[1].y)) == ([0.1, 1.0], [50.0, 50.0])


@pytest.mark.parametrize(("noise", "rate"), cdr_mnist.NOISES)
def test_mnist_is_trained_as_the_authors_did(noise: str, rate: float):
    args = Namespace(epochs=20, per_class=None, set=[])
    for methods in cdr_mnist.chains(rate, 1.0):
        config = Config.parse(cdr_mnist.config_of(args, methods, noise, rate, seed=2))
        assert config.chain in cdr_mnist.REPORTED
        task = config.task
        assert (task.model.name, task.optim.batch, task.optim.lr) == ("lenet", 32, 0.01)
        assert (task.noise.kind, task.noise.options["rate"], config.seed) == (noise, rate, 2)
        assert methods.get("cdr", {"rate": rate})["rate"] == rate
