"""Tasks that cannot be trained are refused before anything starts."""

import numpy as np
import pytest

from trainables.config import Config
from trainables.cost import measure, try_out
from trainables.data.dataset import Dataset, prepare
from trainables.data.views import STILL, View
from trainables.errors import ConfigError
from trainables.trial import Trial


@pytest.mark.parametrize(("share", "part"), [(0.0001, "validation"), (0.9999, "training")])
def test_a_split_without_a_part_is_refused(share: float, part: str) -> None:
    task = Config.parse({"split": {"validation": share}}).task
    with pytest.raises(ConfigError, match=f"split.validation = {share}: leaves no {part} image"):
        prepare(task)


def test_a_network_that_the_images_do_not_fit_is_refused(data: Dataset) -> None:
    try_out(Config(), data)
    with pytest.raises(ConfigError, match="model = lenet: does not fit images of 1 x 8 x 8"):
        try_out(Config.parse({"model": "lenet"}), data)


def test_a_machine_with_other_labels_trains_nothing() -> None:
    mine = prepare(Config().task).noise.hash
    Trial({"trial": {"name": "ce-0000", "labels": mine}}).stop()
    with pytest.raises(ConfigError, match="noise: labels made on this machine have hash"):
        Trial({"trial": {"name": "ce-0000", "labels": "0" * 64}})


def test_a_trial_s_cost_grows_with_its_epochs(data: Dataset) -> None:
    costs = [measure(Config.parse({"epochs": epochs}), data, threads=1) for epochs in (1, 100)]
    assert costs[1].seconds > 5 * costs[0].seconds > 0
    assert costs[0].weights == costs[1].weights > 39_242 * 4


def test_a_task_is_noise_first_then_a_split_by_the_given_labels() -> None:
    data = prepare(Config.parse({"noise": {"rate": 0.4}, "augment": True}).task)
    assert (len(data.train), len(data.validation)) == (1078, 360)
    assert not set(data.train) & set(data.validation)
    given = data.given.numpy()
    assert (given != data.clean.numpy()).mean() == data.noise.rate == pytest.approx(0.4, abs=0.05)
    share = np.bincount(given[data.validation]) / np.bincount(given)
    np.testing.assert_allclose(share, 0.25, atol=0.01)
    assert data.view == View(pixels=1)
    still = prepare(Config.parse({}).task)
    assert (still.view, still.noise.hash) == (STILL, data.noise.hash)
    other = prepare(Config.parse({"split": {"seed": 1}}).task)
    assert other.noise.hash == data.noise.hash
    assert set(other.validation) != set(data.validation)


def test_the_first_images_of_each_class_keep_their_noise() -> None:
    whole = prepare(Config().task)
    part = prepare(Config.parse({"per_class": 20}).task)
    assert np.bincount(part.clean).tolist() == [20] * 10
    positions = {label: np.flatnonzero(whole.clean == label)[:20] for label in range(10)}
    assert sorted(np.concatenate(list(positions.values()))) == part.rows.tolist()
    np.testing.assert_array_equal(part.given, whole.given[part.rows])
    assert (len(part.train), len(part.validation)) == (150, 50)
    np.testing.assert_array_equal(part.images, whole.images)


def test_a_source_without_a_split_of_its_own_says_so() -> None:
    task = Config.parse({"split": {"validation": "source"}}).task
    with pytest.raises(ConfigError, match=r"validation = source: digits sets no images aside"):
        prepare(task)


@pytest.mark.parametrize(("name", "mean"), [("none", (0.0,)), ("mnist", (0.1307,))])
def test_statistics_are_those_of_the_named_convention(name: str, mean: tuple[float, ...]) -> None:
    assert prepare(Config.parse({"statistics": name}).task).mean == mean


def test_statistics_of_other_channels_are_refused() -> None:
    task = Config.parse({"statistics": "cifar10"}).task
    with pytest.raises(ConfigError, match=r"statistics = cifar10: are of 3 channels, digits has 1"):
        prepare(task)


def test_a_wrong_option_of_a_network_is_told_as_it_is(data: Dataset) -> None:
    with pytest.raises(ConfigError, match="depth") as refused:
        try_out(Config.parse({"model": {"wrn-28-10": {"depth": 27}}}), data)
    assert "does not fit" not in str(refused.value)


def test_more_images_of_each_class_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="per_class = 5000: no class of digits has more than 14"):
        prepare(Config.parse({"per_class": 5000}).task)
