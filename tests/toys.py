"""Small things that several tests train with, and bit-for-bit comparison of what comes out."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.bounds import NonNegative
from trainables.config import Config, Task, build, schema
from trainables.data.batch import Batch
from trainables.data.dataset import Dataset, prepare
from trainables.data.noise import NOISES, Noise, corrupt
from trainables.data.noise.base import Clean
from trainables.loop import Loop
from trainables.methods.base import Method, Run

ROOT = Path(__file__).parent.parent
DROPOUT = {"cnn": {"dropout": 0.2}}
WHOLE = {"manifest.json", "labels.parquet", "journal", "trials.parquet", "history.parquet"}
WHOLE |= {"best", "tensorboard", "tune"}  # what a study's folder holds in the end
TIMES = {"seconds", "seconds/epoch"}  # the only parts of a report that two equal runs differ in


@dataclass
class Follower(Method):
    """A toy that weighs each row by its own random walk, which a reset takes back."""

    rate: NonNegative = 1.0
    null: ClassVar = {"rate": 0.0}
    follows_model: ClassVar = True

    def start(self, run: Run) -> None:
        self.memory = torch.zeros(run.size, device=run.device)

    def batch(self, batch: Batch, run: Run) -> Batch:
        weight = torch.exp(self.rate * self.memory[batch.index])
        return replace(batch, y=batch.y * weight[:, None])

    def step(self, batch: Batch, run: Run) -> None:
        moves = torch.randn(len(batch.index), generator=run.stream("follower"))
        self.memory[batch.index] += moves.to(run.device)

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.copy_(state["memory"])


def small() -> Dataset:
    """A part of digits that trains in milliseconds; views move by a pixel."""
    whole = prepare(Task(augment=True))
    return replace(whole, train=whole.train[:300], validation=whole.validation[:100])


def plain(methods: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """A small trial's nested config: two epochs of the network with dropout."""
    optim = {"batch": 32, **settings.pop("optim", {})}
    return {"epochs": 2, "model": DROPOUT, **settings, "optim": optim, "methods": methods or {}}


def tiny(methods: Mapping[str, Any] | None = None, **settings: Any) -> Config:
    """The same, checked."""
    return Config.parse(plain(methods, **settings))


def finish(loop: Loop) -> list[dict[str, Any]]:
    """All reports up to the end."""
    reports = []
    while not loop.ended:
        reports.append(loop.train())
    return reports


def untimed(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what is measured by a clock."""
    return {key: value for key, value in report.items() if key not in TIMES}


def state_of(loop: Loop) -> dict[str, Any]:
    """A copy of everything a trial is, but its clock."""
    return {**untimed(loop.state_dict()), "kept": loop.kept}


def through_disk(value: Any) -> Any:
    """What torch gives back after saving, refusing anything but tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nested values are not the same, bit for bit.

    >>> differences({"a": [1, torch.zeros(2)]}, {"a": [1, torch.ones(2)]})
    ['/a/1']
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [path]
    if type(one) is not type(other):
        return [path]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{path}: {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [
            place for key in one for place in differences(one[key], other[key], f"{path}/{key}")
        ]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f"{path}: {len(one)} and {len(other)} long"]
        pairs = enumerate(zip(one, other, strict=True))
        return [place for i, (a, b) in pairs for place in differences(a, b, f"{path}/{i}")]
    return [] if one == other else [path]


def corrupted(labels: Any, kind: str, rate: float, seed: int) -> Noise:
    """Ten classes of labels under a kind of noise; `rate` where the kind has one."""
    cls = NOISES[kind]
    options = {"rate": rate} if "rate" in schema(cls).model_fields else {}
    images = np.zeros((len(labels), 1, 1, 1), dtype=np.uint8)
    clean = Clean("toy", labels, 10, images, np.arange(len(labels)))
    return corrupt(clean, build(cls, options), seed)


def run_python(code: str, **environment: str) -> "subprocess.Popen[str]":
    """Another Python, from the repository, with these tests' helpers."""
    pipe = subprocess.PIPE
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)
