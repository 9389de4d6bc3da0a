"""What trials get: by machine, since no trial runs on two."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from trainables.errors import ConfigError
from tuning import resources
from tuning.resources import Resources, cluster_resources, refuse_crowding

GIB = 2**30


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


@pytest.mark.parametrize(
    ("given", "need", "told"),
    [
        (
            Resources(1, 0.1, 10),
            2.1,
            "--gpus 0.1: 10 trials need 10 x 2.1 GiB on a GPU of 16.0 GiB (at most 7: --gpus 0.14 "
            "or --concurrency 7)",
        ),
        (Resources(1, 0.1, 20), 2.1, "10 trials need"),  # on the first of two GPUs
        (Resources(1, 0.5, 2), 9.0, "(at most 1: --gpus 1 or --concurrency 1)"),
        (Resources(1, 0.5, 2), 17.0, "(choose a smaller model)"),
        (Resources(1, 0.1, 10), 1.6, None),
        (Resources(1, 0.1, 7), 2.1, None),  # no more than seven are ever there
        (Resources(1, 1, 8), 17.0, None),  # alone, it may yet do with less
        (Resources(1, 2, 1), 17.0, None),
        (Resources(1, 0, 8), 17.0, None),
    ],
)
def test_a_gpu_holds_the_copies_of_all_who_share_it(
    given: Resources, need: float, told: str | None
) -> None:
    if told is None:
        refuse_crowding(given, need * GIB, 16 * GIB)
        return
    with pytest.raises(ConfigError) as error:
        refuse_crowding(given, need * GIB, 16 * GIB)
    assert told in str(error.value)


@pytest.mark.parametrize("trials", range(1, 60))
def test_the_share_told_is_one_that_works(trials: int) -> None:
    gpus = float(resources.share(trials))
    (node,) = [(1000.0, 1.0)]
    assert cluster_resources(asked(gpus=gpus), [node]).concurrency == trials
    assert Resources(1, gpus, 1000).sharing == trials


@pytest.mark.parametrize(
    ("given", "lanes"),
    [
        (Resources(1, 0, 4), 4),
        (Resources(1, 1, 4), 4),
        (Resources(1, 0.25, 4), 1),  # they take turns on one GPU
        (Resources(1, 0.25, 5), 2),
        (Resources(1, 2, 3), 3),
    ],
)
def test_trials_on_one_gpu_take_turns(given: Resources, lanes: int) -> None:
    assert given.lanes == lanes


MEASURED = """
import mmap, sys
from pathlib import Path
import torch
from tuning.resources import PrivatePeak

path = Path(sys.argv[1])
path.write_bytes(b"0" * 50_000_000)
with path.open("rb") as file, PrivatePeak() as peak:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert sum(mapped[::4096]) == 48 * len(range(0, 50_000_000, 4096))
    held = torch.ones(20_000_000)
    del held  # given back before the end
print(peak.size)
"""


def test_private_memory_at_its_peak_is_told_and_shared_memory_is_not(tmp_path: Path) -> None:
    """In a process of its own: a kernel that swaps out what an old one left idle spoils the sum."""
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "file")]
    root = str(Path(__file__).parents[1])
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    if sys.platform != "linux":
        assert said == "None\n"
    else:
        assert 75e6 < int(said) < 95e6


def test_a_container_has_what_its_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_available", lambda: 500)
    monkeypatch.setattr(resources, "_below_limit", lambda: 300)
    assert resources.free_memory() == 300
    monkeypatch.setattr(resources, "_below_limit", lambda: None)
    assert resources.free_memory() == 500
