"""What the benchmarks compute besides times, and that their two sides do the same."""

import math
from argparse import Namespace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from benchmarks import airbench, bare, memory, models
from benchmarks.bare import moved
from benchmarks.cores import splits
from benchmarks.homes import own_home
from benchmarks.throughput import CASES, compare
from trainables.config import Config
from trainables.data.dataset import Dataset, prepare
from trainables.data.views import View

SMAPS = """\
7f0000000000-7f0000010000 r--s 00000000 fd:01 99   /home/x/data/ab/images.npy
Rss:                  64 kB
Pss:                  40 kB
Private_Clean:        16 kB
Private_Dirty:         4 kB
7f1000000000-7f1000010000 rw-p 00000000 00:00 0
Rss:                 100 kB
Pss:                 100 kB
Private_Clean:         0 kB
Private_Dirty:       100 kB
VmFlags: rd wr
7f2000000000-7f2000010000 r-xp 00000000 fd:01 98   /home/xy/libtorch.so
Pss:                  30 kB
Private_Clean:         8 kB
"""


def test_clean_pages_of_the_data_are_nobodys_own():
    found = memory.memory(SMAPS, "/home/x")
    sizes = [found.private, found.map, found.map_pss, found.pss, found.rollup]
    assert [round(size / 1.024e-3) for size in sizes] == [112, 64, 40, 170, 128]


def test_bare_loop_is_as_short_as_it_says():
    lines = Path(bare.__file__).read_text().splitlines()
    first, last = (at for at, line in enumerate(lines) if line.startswith("# ---"))
    assert last - first - 1 <= 60


@pytest.mark.parametrize("view", [View(1), View(1, flip=True), View(0, flip=True)])
def test_bare_loop_moves_as_the_view_says(view: View):
    image = torch.arange(1, 19, dtype=torch.uint8).view(1, 2, 3, 3)
    wide = pad(image, (view.pixels,) * 4)
    moves = range(2 * view.pixels + 1)
    crops = [wide[0, :, y : y + 3, x : x + 3] for y, x in product(moves, moves)]
    crops += [crop.flip(-1) for crop in crops] if view.flip else []
    many = moved(image.expand(500, -1, -1, -1), view, torch.Generator().manual_seed(0))
    assert {bytes(x.numpy()) for x in many} == {bytes(crop.contiguous().numpy()) for crop in crops}


@pytest.mark.parametrize(("few", "driver"), [(0, "Trial.train"), (3, "Loop.advance")])
def test_both_sides_learn_alike(few: int, driver: str):
    plain = CASES["digits cnn 32 augmented"].plain("fp32")
    found = compare({**plain, "epochs": 2}, turns=1, few=few)
    theirs, ours = found.losses
    assert found.driver == driver
    assert (len(found.wall), len(found.cpu)) == (1, 1)
    assert found.images == (3 * 32 if few else 2 * len(prepare(Config.parse(plain).task).train))
    assert theirs == pytest.approx(ours, abs=0.3)
    assert max(theirs, ours) < math.log(10) + 0.5


def test_bare_loop_validates_on_what_ours_does(data: Dataset):
    arrays = bare.arrays(data, torch.device("cpu"))
    assert (len(arrays.labels), len(arrays.validation)) == (len(data.train), len(data.validation))
    x = torch.addcmul(arrays.offset, arrays.validation.float(), arrays.scale)
    rows = torch.from_numpy(data.rows[data.validation])
    wanted = (data.images[rows] / 255 - data.mean[0]) / data.std[0]
    assert torch.allclose(x, wanted, atol=1e-5)


def test_splits_use_all_cores():
    assert splits(2) == [(2, 1), (1, 2)]
    assert all(trials * threads == 12 for trials, threads in splits(12))


def test_airbench_finds_the_first_epoch_at_the_mark():
    labels = np.array([0, 1, 2, 3])
    predicted = [np.array(x) for x in ([0, 0, 0, 0], [0, 1, 2, 0], [0, 1, 0, 0])]
    run = airbench.Run([1.0, 2.0, 3.0], predicted)
    found = airbench.reached(run, labels, 0.75)
    assert (found.epoch, found.accuracy) == (2, [0.25, 0.75, 0.5])
    assert airbench.told(found, 0.75).startswith("75 % after epoch 2, 2.0 s")
    assert "not reached (best 75.00 %)" in airbench.told(airbench.reached(run, labels, 0.9), 0.9)


def test_airbench_trains_on_clean_labels():
    args = {"per_class": None, "model": "resnet18", "precision": "bf16", "compile": False}
    config = airbench.config_of(Namespace(**args, epochs=20, lr=0.05, batch=128), seed=3)
    assert (config.task.noise.kind, config.seed, config.task.augment) == ("none", 3, True)


def test_random_images_stand_in_and_leave():
    with own_home(random=True) as folder:
        task = Config.parse({"data": "mnist", "per_class": 5}).task
        assert prepare(task).images.shape == (60_000, 1, 28, 28)
        assert Path(folder, "data", "mnist.json").exists()
    assert not Path(folder).exists()


def test_models_measures_within_its_time(data: Dataset):
    plain = {"model": "fcnn", "epochs": 2, "optim": {"batch": 30}}
    found = models.figures(Config.parse(plain), data, seconds=60.0)
    assert found.parameters > 0
    assert 1 <= found.steps < 10 or torch.cuda.is_available()
    assert found.epoch == pytest.approx(10 * found.step + found.validation)
    slow = models.figures(Config.parse(plain), data, seconds=0.0)
    assert slow.steps == 0
    assert slow.step > 0
