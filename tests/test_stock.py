"""The published failure of stock Ray Tune (ray-project/ray#30838), and its absence here.

`Tuner.restore` brings back trials, not the scheduler: the rungs of AsyncHyperBand are empty, so the
first trial after it goes on however poor it is, and those after are compared with that one. Run as
a script, this file is the search by Tune's own parts.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.curves import Step
from tuning.making import make_study
from tuning.simulator import Simulator
from tuning.space import load
from tuning.study import ENDED, Entry, Record

SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1, 0.2]  # of each trial, at every epoch
EPOCHS, FACTOR = 9, 3  # rungs at 1, 3 and 9
BEFORE = 6  # trials that have ended when the driver goes
ALONE = [9, 1, 1, 1, 1, 1, 1, 1]  # epochs of each trial: the first is the best, the others stop


def stock(folder: Path) -> dict[str, list[int]]:
    """Epochs that each trial ran, in a search left alone and in one that was restored."""
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from tuning.session import cluster

    class Constant(tune.Trainable):  # type: ignore[misc]  # Ray's bases carry no types
        def step(self) -> dict[str, Any]:
            return {"score": self.config["score"]}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: Any) -> None: ...

    class Interrupted(tune.Callback):  # type: ignore[misc]
        """Ctrl-C once `BEFORE` trials have ended; Tune then saves all that it saves."""

        def on_trial_complete(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if info["trial"].config["score"] == SCORES[BEFORE - 1]:
                os.kill(os.getpid(), signal.SIGINT)

    def tuner(name: str, callbacks: list[Any]) -> Any:
        scheduler = AsyncHyperBandScheduler(
            time_attr="training_iteration", max_t=EPOCHS, grace_period=1, reduction_factor=FACTOR
        )
        return tune.Tuner(
            Constant,
            param_space={"score": tune.grid_search(SCORES)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                scheduler=scheduler,
                max_concurrent_trials=1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=name, storage_path=str(folder), callbacks=callbacks, verbose=0
            ),
        )

    def epochs(grid: Any) -> list[int]:
        ran = {r.config["score"]: r.metrics["training_iteration"] for r in grid if r.metrics}
        return [ran[score] for score in SCORES if score in ran]

    with cluster(None):
        alone = epochs(tuner("alone", []).fit())
        begun = epochs(tuner("begun", [Interrupted()]).fit())
        restored = tune.Tuner.restore(str(folder / "begun"), Constant, resume_unfinished=True)
        return {"alone": alone, "begun": begun, "restored": epochs(restored.fit())}


class Constant:
    """The same scores as curves."""

    def step(self, record: Record, number: int) -> Step:
        score = SCORES[record.n]
        report = {"report": number, "epoch": float(number), "scored": 1, "score": score}
        report |= {"last": score, "kept": 0, "diverged": 0, "done": number == EPOCHS}
        return Step(1.0, report)


def ours(before: list[Entry]) -> tuple[list[float], list[Entry]]:
    """Epochs of each trial of a study taken up from a journal, and its journal."""
    plan = load(
        "mr",
        task="digits",
        spaces=[],
        settings=[f"epochs={EPOCHS}"],
        seed=0,
        study_flags={
            "searcher": "random",
            "scheduler": "asha",
            "trials": len(SCORES),
            "grace": 1 / EPOCHS,
            "factor": FACTOR,
        },
    )
    entries = list(before)
    study = make_study(plan, lambda entry, flush: entries.append(entry))
    Simulator(study, Constant(), 1).live(before)
    assert study.count(*ENDED) == len(SCORES)
    return [record.epoch for record in study.records.values()], entries


def test_a_study_rebuilt_from_its_journal_stops_whom_it_would_have_stopped() -> None:
    alone, entries = ours([])
    assert alone == ALONE
    ends = [number for number, entry in enumerate(entries, 1) if entry["kind"] == "end"]
    assert ours(entries[: ends[BEFORE - 1]])[0] == ALONE


@pytest.mark.slow
def test_a_restored_tuner_lets_poor_trials_go_on(ray_env: dict[str, str], tmp_path: Path) -> None:
    # as Tune has them: its own handler of Ctrl-C, and snapshots
    environment = ray_env | {"TUNE_DISABLE_SIGINT_HANDLER": "0", "TUNE_GLOBAL_CHECKPOINT_S": "1"}
    command = [sys.executable, __file__, str(tmp_path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert found["alone"] == ALONE
    assert found["begun"][:BEFORE] == ALONE[:BEFORE]
    # Equal to ALONE once Ray restores its rungs: then this file has told its story.
    assert found["restored"] == [*ALONE[:BEFORE], EPOCHS, EPOCHS]


if __name__ == "__main__":
    from tuning.session import quieten

    quieten()
    print(json.dumps(stock(Path(sys.argv[1]))))
