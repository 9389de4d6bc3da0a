"""One run of Ray Tune: what it is told, and where it works."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuning import checkpoints
from tuning.places import Place, Remote
from tuning.resources import Resources
from tuning.store import next_life

if TYPE_CHECKING:
    from tuning.tuner import Watcher


def launch(
    watcher: "Watcher",
    resources: Resources,
    folder: Place,
    *,
    over: Callable[[], bool],
    labels: str | None,
    trainable: type[Any] | None,
    failures: int,
) -> None:
    """Let Tune run the trials of a study, until it has no more or `over` says so.

    Tune works in tune/life-k of the study's folder, which no other run has.

    Args:
        watcher: of the study, with the decider that Tune is to ask.
        resources: of each trial.
        folder: the study's.
        over: asked several times a second.
        labels: hash that the labels must have on every machine.
        trainable: runs the trials, in place of `Trial`.
        failures: of a trial, after which it is tried again.

    Raises:
        RuntimeError: as Tune wraps whatever ended its run.
    """
    from ray import tune  # ours, quietened, by now

    from trainables.trial import Trial
    from tuning.tuner import Asker, Until

    def newest(name: str) -> Place | None:
        def passed(broken: Place) -> None:
            watcher.on_retry(f"{name}: {broken} is not whole; an earlier one is looked for")

        return checkpoints.newest(folder, name, passed)

    where: dict[str, Any] = {"storage_path": str(folder)}
    if isinstance(folder, Remote):
        where = {"storage_path": str(folder.key), "storage_filesystem": folder.fs}
    tuner = tune.Tuner(
        tune.with_resources(trainable or Trial, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={},
        tune_config=tune.TuneConfig(
            search_alg=Asker(watcher.study, newest, labels),
            scheduler=watcher.decider,
            num_samples=-1,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config["trial"]["name"]),
            trial_dirname_creator=lambda trial: str(trial.config["trial"]["name"]),
        ),
        run_config=tune.RunConfig(
            name=f"tune/life-{next_life(folder)}",
            **where,
            stop=Until(over),
            callbacks=[watcher],
            failure_config=tune.FailureConfig(max_failures=failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            verbose=0,
        ),
    )
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # the summary tells failures
    tuner.fit()
