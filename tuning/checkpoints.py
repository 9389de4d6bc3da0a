"""What a study keeps of its trials' checkpoints, and which of them a new life goes on from."""

import json
import shutil
from pathlib import Path

from trainables.seal import sealed


def newest(study: Path, trial: str) -> Path | None:
    """The checkpoint a trial goes on from: of the latest life, the last one that is whole."""
    for folder in _checkpoints(study, trial):
        files = sealed(folder)
        foreign = any(folder.glob("*.pkl"))  # Tune would unpickle it; we never write one
        if files is not None and "state.pt" in files and not foreign:
            return folder
    return None


def final(study: Path, trial: str, last: int) -> Path | None:
    """The checkpoint with a trial's weights after its last report, number `last`."""
    for folder in _checkpoints(study, trial):
        files = sealed(folder)
        if files is not None and "weights.pt" in files and _report(files) in (None, last):
            return folder
    return None


def strip(study: Path, trial: str, keep: bool, last: int) -> None:
    """Leave of an ended trial its selected weights, or nothing.

    Args:
        last: number of its last report; weights after an earlier one are not kept.
    """
    target = weights(study, trial)
    if keep and not target.exists() and (folder := final(study, trial, last)):
        (folder / "weights.pt").replace(target)
    if not keep:
        target.unlink(missing_ok=True)
    for folder in _checkpoints(study, trial):
        shutil.rmtree(folder, ignore_errors=True)


def weights(study: Path, trial: str) -> Path:
    """Where the selected weights of an ended trial lie, if they are kept."""
    return _lives(study, trial)[0] / "weights.pt"


def _report(files: dict[str, bytes]) -> int | None:
    """The report a checkpoint was taken after; None when nothing was left to train."""
    if "progress.json" not in files:
        return None
    number: int = json.loads(files["progress.json"])["clock"]["_iteration"]
    return number


def _lives(study: Path, trial: str) -> list[Path]:
    """The trial's folder in each life, the latest first."""
    numbers = (life.name.removeprefix("life-") for life in study.glob("tune/life-*"))
    lives = sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)
    folders = [study / "tune" / f"life-{life}" / trial for life in lives]
    return [folder for folder in folders if folder.is_dir()] or [study / "tune" / trial]


def _checkpoints(study: Path, trial: str) -> list[Path]:
    """The trial's checkpoint folders, the newest first."""
    return [
        folder
        for life in _lives(study, trial)
        for folder in sorted(life.glob("checkpoint_*"), reverse=True)
    ]
