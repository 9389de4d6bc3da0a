"""The manifest: what a study is, from which it can be resumed and repeated."""

import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from tuning import strangers
from tuning.places import Place
from tuning.space import Plan
from tuning.store import Store

FORMAT = 1
PACKAGES = ("ray", "optuna", "torch", "torchvision", "numpy", "pyarrow", "pydantic", "tensorboard")


def describe(plan: Plan, data: Dataset, argv: list[str]) -> dict[str, Any]:
    """What is written down before the first trial."""
    noise = plan.example.task.noise
    return {
        "format": FORMAT,
        "began": stamp(),
        "command": argv,
        "plan": plan.plain,
        "data": data.address,
        "images": images(data),
        "noise": {
            **noise.plain,
            "realised": data.noise.rate,
            "hash": data.noise.hash,
            "transitions": data.noise.transitions.tolist(),
        },
        "split": {
            "train": len(data.train),
            "validation": len(data.validation),
            "trusted": len(data.trusted),
        },
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "git": commit(),
        "lives": [],
    }


def images(data: Dataset) -> dict[str, Any]:
    """What a trained network must be given: bytes / 255, less the mean, over the deviation."""
    shape = list(data.images.shape[1:])
    return {"shape": shape, "mean": data.mean, "std": data.std, "classes": data.classes}


def write_labels(store: Store, data: Dataset) -> None:
    """labels.parquet: what was given, what was true, who trains, validates and is trusted.

    Of a trusted row, too, `given` is what the noise gave; its label is the true one.
    """
    split = np.full(len(data.given), "train", dtype=object)
    split[data.validation] = "validation"
    split[data.trusted] = "trusted"
    store.write_labels(data.rows.tolist(), data.clean.tolist(), data.given.tolist(), split.tolist())


def read(store: Store) -> dict[str, Any]:
    """The manifest of a study begun earlier, by whomever.

    Raises:
        ConfigError: this program cannot read it, or the study's folder leads out of itself.
    """
    strangers.refuse_links(store.folder)
    manifest = store.read_json("manifest.json")
    path = store.folder / "manifest.json"
    if manifest.get("format") != FORMAT:
        told = f"format {manifest.get('format')}, this program reads {FORMAT}"
        raise ConfigError(f"{path}: {told} (use the noisetune that wrote it)")
    strangers.check(manifest, path)
    return manifest


def check(manifest: dict[str, Any], data: Dataset, folder: Place) -> None:
    """Refuse to resume on other data or other labels than the study began with."""
    if manifest["noise"]["hash"] != data.noise.hash or manifest["data"] != data.address:
        raise ConfigError(
            f"{folder}: its data or labels are not those of this machine (clear the data cache, or "
            "resume where it began)"
        )


def stamp() -> str:
    """Now, in ISO 8601 with the offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def commit() -> str | None:
    """The commit of the code that runs, where it runs from a repository."""
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
