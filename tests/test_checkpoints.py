"""What stays of a trial's checkpoints, and which of them the next life goes on from."""

import errno
import json
import os
from pathlib import Path

import pytest

from trainables.seal import seal
from tuning.checkpoints import newest, strip, weights
from tuning.places import Place


def saved(study: Path, life: int, index: int, report: int | None, name: str = "mr-0000") -> Path:
    """A checkpoint after a report; None stands for the last one of a trial that ran to its end."""
    folder = study / "tune" / f"life-{life}" / name / f"checkpoint_{index:06d}"
    folder.mkdir(parents=True)
    files = {"weights.pt": f"weights after {report}".encode()}
    if report is not None:
        progress = {"clock": {"_iteration": report}, "kept": False}
        files |= {"state.pt": b"state", "progress.json": json.dumps(progress).encode()}
    seal(folder, files)
    return folder


def left(study: Path) -> list[str]:
    return sorted(str(path.relative_to(study)) for path in study.rglob("*") if path.is_file())


def test_a_trial_goes_on_from_the_last_whole_state_of_its_last_life(tmp_path: Path) -> None:
    assert newest(tmp_path, "mr-0000") is None
    first = saved(tmp_path, 2, 0, 3)
    saved(tmp_path, 2, 1, 4, name="mr-0001")
    assert newest(tmp_path, "mr-0000") == first
    second = saved(tmp_path, 10, 0, 5)
    third = saved(tmp_path, 10, 1, 6)
    passed: list[Place] = []
    assert newest(tmp_path, "mr-0000", passed.append) == third
    assert passed == []
    (third / "state.pt").write_bytes(b"sta")  # cut short by a kill
    assert newest(tmp_path, "mr-0000", passed.append) == second
    assert passed == [third]
    saved(tmp_path, 10, 2, None)  # nothing left to train: no state
    assert newest(tmp_path, "mr-0000") == second
    (second / "seal.json").unlink()
    assert newest(tmp_path, "mr-0000") == first


def test_a_storage_that_fails_is_no_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a moment's fault would throw away what was trained."""
    saved(tmp_path, 1, 0, 3)

    def stale(path: Path) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        newest(tmp_path, "mr-0000")


@pytest.mark.parametrize("last", [3, None])
def test_of_a_good_trial_the_last_weights_stay(tmp_path: Path, last: int | None) -> None:
    saved(tmp_path, 1, 0, 1)
    saved(tmp_path, 2, 0, 2)
    saved(tmp_path, 2, 1, last)
    saved(tmp_path, 2, 0, 2, name="mr-0001")
    others = [name for name in left(tmp_path) if "mr-0001" in name]
    strip(tmp_path, "mr-0000", keep=True, last=3)
    assert left(tmp_path) == sorted([*others, "tune/life-2/mr-0000/weights.pt"])
    assert weights(tmp_path, "mr-0000").read_text() == f"weights after {last}"
    strip(tmp_path, "mr-0000", keep=True, last=3)
    assert weights(tmp_path, "mr-0000").exists()
    strip(tmp_path, "mr-0000", keep=False, last=3)
    assert left(tmp_path) == others


def test_weights_of_an_earlier_report_are_not_passed_off_as_the_last(tmp_path: Path) -> None:
    """As when the driver is killed between a trial's last report and its last checkpoint."""
    saved(tmp_path, 1, 0, 2)
    strip(tmp_path, "mr-0000", keep=True, last=3)
    assert left(tmp_path) == []


def test_of_other_trials_nothing_stays(tmp_path: Path) -> None:
    saved(tmp_path, 1, 0, 1)
    saved(tmp_path, 2, 0, 2)
    strip(tmp_path, "mr-0000", keep=False, last=2)
    assert left(tmp_path) == []
    strip(tmp_path, "mr-0001", keep=False, last=0)  # it never started


def test_a_folder_that_would_be_unpickled_is_never_gone_on_from(tmp_path: Path) -> None:
    folder = tmp_path / "tune" / "life-1" / "mr-0000" / "checkpoint_000000"
    folder.mkdir(parents=True)
    seal(folder, {"state.pt": b"state", "progress.json": b"{}"})
    assert newest(tmp_path, "mr-0000") == folder
    (folder / "_dict_checkpoint.pkl").write_bytes(b"anybody's code")
    assert newest(tmp_path, "mr-0000") is None


def test_a_copied_life_is_no_life(tmp_path: Path) -> None:
    for life in ("life-1", "life-1.bak", "life-x"):
        (tmp_path / "tune" / life / "mr-0000").mkdir(parents=True)
    assert weights(tmp_path, "mr-0000") == tmp_path / "tune" / "life-1" / "mr-0000" / "weights.pt"
