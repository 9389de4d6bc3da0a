"""What trials get: by machine, since no trial runs on two."""

from argparse import Namespace

import pytest

from trainables.errors import ConfigError
from tuning.resources import Resources, cluster_resources


def asked(**flags: float) -> Namespace:
    return Namespace(
        **{"cpus": None, "gpus": None, "concurrency": None, "address": "auto", **flags}
    )


@pytest.mark.parametrize(
    ("flags", "nodes", "found"),
    [
        ({}, [(2, 0)], Resources(1, 0, 2)),
        ({"cpus": 3}, [(8, 0), (4, 0)], Resources(3, 0, 3)),  # two and one, not four of twelve
        ({}, [(0, 0), (8, 1), (8, 1)], Resources(1, 1, 2)),  # a GPU each where there are some
        ({"gpus": 0.25, "concurrency": 5}, [(8, 1), (8, 1)], Resources(1, 0.25, 5)),
        ({"gpus": 0.25}, [(2, 1), (8, 1)], Resources(1, 0.25, 6)),
    ],
)
def test_as_many_trials_as_fit_their_machines(
    flags: dict[str, float], nodes: list[tuple[float, float]], found: Resources
) -> None:
    assert cluster_resources(asked(**flags), nodes) == found


@pytest.mark.parametrize(
    ("flags", "nodes", "told"),
    [
        (
            {"cpus": 12},
            [(8, 0), (8, 0)],
            "--cpus 12: no node of the cluster at auto has more than 8",
        ),
        ({"gpus": 2}, [(8, 1), (8, 1)], "--gpus 2: no node of the cluster at auto has more than 1"),
        ({}, [(0, 0)], "no worker of this cluster is up yet"),
        ({"cpus": 4, "gpus": 1}, [(8, 0), (2, 1)], "has both"),
    ],
)
def test_what_no_machine_has_is_refused(
    flags: dict[str, float], nodes: list[tuple[float, float]], told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        cluster_resources(asked(**flags), nodes)
    assert told in str(error.value)
