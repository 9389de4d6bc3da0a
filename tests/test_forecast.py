"""What a trial costs: measured in little time, and told in full."""

from dataclasses import replace

import pytest
from toys import tiny

from trainables import cost
from trainables.cost import least_on_gpu, measure, try_out
from trainables.data.dataset import Dataset


def test_time_is_that_of_all_steps_and_passes(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(epochs=5)
    monkeypatch.setattr(cost, "_steps", lambda loop, most: (0.5, most))
    monkeypatch.setattr(cost, "_pass_seconds", lambda loop, count: 0.01)
    found = measure(config, data, 1)
    epoch = 0.5 * 10 + 0.01 * (100 + 300)
    assert found.seconds == pytest.approx(5 * epoch)
    assert found.steps == cost.MEASURED


@pytest.mark.parametrize("limit", [0.0, 1e9])
def test_a_slow_model_is_measured_by_a_single_step(
    limit: float, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "STEP_SECONDS", limit)
    monkeypatch.setattr(cost, "PASS_SECONDS", limit)
    found = measure(tiny(epochs=5), data, 1)
    assert found.steps == (cost.MEASURED if limit else 1)
    assert found.seconds > 0


def test_a_trial_shorter_than_a_measurement_has_a_cost(data: Dataset) -> None:
    short = replace(data, train=data.train[:32])
    found = measure(tiny(epochs=1), short, 1)
    assert found.steps == 1
    assert found.seconds > 0


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
