"""What a study keeps of its trials' checkpoints, and which of them a new life goes on from."""

import json
from collections.abc import Callable
from pathlib import PurePosixPath

from trainables.errors import ConfigError
from trainables.seal import sealed
from tuning.places import Place, children, move, remove


def newest(
    study: Place, trial: str, passed: Callable[[Place], None] = lambda folder: None
) -> Place | None:
    """The checkpoint a trial goes on from: of the latest life, the last one that is whole.

    Args:
        passed: told of each one after it, which is not.
    """
    for folder in _checkpoints(study, trial):
        files = sealed(folder)
        foreign = bool(children(folder, "*.pkl"))  # Tune would unpickle it; we never write one
        if files is not None and "state.pt" in files and not foreign:
            return folder
        passed(folder)
    return None


def final(study: Place, trial: str, last: int) -> Place | None:
    """The checkpoint with a trial's weights after its last report, number `last`."""
    for folder in _checkpoints(study, trial):
        files = sealed(folder)
        if files is not None and "weights.pt" in files and _report(files) in (None, last):
            return folder
    return None


def strip(study: Place, trial: str, keep: bool, last: int) -> None:
    """Leave of an ended trial its selected weights, or nothing.

    Args:
        last: number of its last report; weights after an earlier one are not kept.
    """
    target = weights(study, trial)
    if keep and not target.exists() and (folder := final(study, trial, last)):
        move(folder / "weights.pt", target)
    if not keep:
        remove(target)
    for folder in _checkpoints(study, trial):
        remove(folder)


def weights(study: Place, trial: str) -> Place:
    """Where the selected weights of an ended trial lie, if they are kept."""
    return _lives(study, trial)[0] / "weights.pt"


def _report(files: dict[str, bytes]) -> int | None:
    """The report a checkpoint was taken after; None when nothing was left to train.

    A seal vouches for whole files, not for who wrote them: what is no clock of ours is after no
    report.
    """
    if "progress.json" not in files:
        return None
    try:
        number: int = json.loads(files["progress.json"])["clock"]["_iteration"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0
    return number


def _lives(study: Place, trial: str) -> list[Place]:
    """The trial's folder in each life, the latest first."""
    if trial != PurePosixPath(trial).name or trial == "..":  # a journal may be a stranger's
        raise ConfigError(f"{study}: {trial!a}: is no trial's name (restore the journal)")
    numbers = (life.name.removeprefix("life-") for life in children(study / "tune", "life-*"))
    lives = sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)
    folders = [study / "tune" / f"life-{life}" / trial for life in lives]
    return [folder for folder in folders if folder.is_dir()] or [study / "tune" / trial]


def _checkpoints(study: Place, trial: str) -> list[Place]:
    """The trial's checkpoint folders, the newest first."""
    return [
        folder
        for life in _lives(study, trial)
        for folder in reversed(children(life, "checkpoint_*"))
    ]
