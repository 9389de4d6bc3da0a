"""Tasks that cannot be trained are refused before anything starts."""

import pytest

from trainables.config import Config
from trainables.cost import measure, try_out
from trainables.data.dataset import Dataset, prepare
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
