"""A trial as Ray Tune runs it: a thin adapter around one `Loop`.

A report ends at a kept state, and Tune saves a checkpoint right after it, so the state Tune holds
is the kept one. `Loop.back` goes through Tune's own restore to it; the trial's clock is put back,
since a reset does not undo time. A checkpoint taken later, for fault tolerance, carries the reset
target in a file of its own.

    state.pt       everything the config cannot rebuild
    weights.pt     of the epoch that counts so far
    kept.pt        what a reset returns to, unless that is state.pt itself
    progress.json  Tune's clock
    seal.json      sizes and hashes of the above, written last
"""

import gc
import io
import json
import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import ray
import torch
from ray import tune

from trainables.config import Config, Task
from trainables.data.dataset import DATA_FIELDS, Dataset, prepare
from trainables.errors import ConfigError
from trainables.fallback import candidates
from trainables.loop import Loop
from trainables.methods.chain import name_of, parse
from trainables.seal import seal, sealed

CLOCK = (
    "_iteration",
    "_time_total",
    "_time_since_restore",
    "_iterations_since_restore",
    "_timesteps_total",
    "_timesteps_since_restore",
    "_episodes_total",
)
START = dict.fromkeys(CLOCK, 0) | {"_timesteps_total": None, "_episodes_total": None}


class NotWholeError(RuntimeError):
    """A checkpoint that no trial can go on from."""


class Trial(tune.Trainable):
    """One config, trained. Its `config` is the nested trial config that `Config.parse` reads.

    A key `trial` beside it is the platform's own: `name`, `labels` (the hash they must have) and,
    to go on from an earlier life's checkpoint, `from` (Tune's `Checkpoint` of it).
    """

    chain: ClassVar[str | None] = None  # bound by `trainable_for`
    checkpoint_seconds: ClassVar[float] = 300.0  # between checkpoints for fault tolerance
    memory_resets: ClassVar[bool] = True  # a reset reads the state from memory while it is there

    loop: Loop
    _data: tuple[dict[str, Any], Dataset]  # with the fields of the task it was prepared from
    _from: Any  # a checkpoint to go on from, before the first step
    _newest: Any  # what Tune last saved or restored
    _going_back: bool  # within a reset
    _kept_now: bool  # the newest report ends with the kept state
    _clock: dict[str, Any]  # of the checkpoint gone on from
    _fell_back: bool  # since the newest report, to an older checkpoint than the one it was given
    _saved: float  # time.monotonic() of the newest checkpoint

    def setup(self, config: dict[str, Any]) -> None:
        logging.getLogger("ray.tune.trainable.trainable").setLevel(logging.WARNING)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._begin(new_config)
        return True

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        done: bool = super().reset(new_config, storage=storage)
        self._last_result = None  # of the trial that had this actor before
        return done

    def cleanup(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()
            del self.loop
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def step(self) -> dict[str, Any]:
        if self._from is not None:
            start, self._from = self._from, None
            self.restore(start)
            self.__dict__.update(self._clock)
        report = self.loop.train()
        if self._fell_back:
            report["fell_back"] = 1
            self._fell_back = False
        self._kept_now = bool(report["kept"])
        due = time.monotonic() - self._saved >= self.checkpoint_seconds
        return {
            **report,
            "report": self._iteration + 1,
            "should_checkpoint": self._kept_now or (due and bool(report["scored"])),
        }

    def save(self, checkpoint_dir: str | None = None) -> Any:
        if checkpoint_dir or not self._storage:
            self._newest = super().save(checkpoint_dir)
        else:  # Tune leaves its own draft where the copy to the storage fails
            with TemporaryDirectory(prefix="noisetune-checkpoint-") as draft:
                self._newest = super().save(draft)
        self._saved = time.monotonic()
        return self._newest

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from a checkpoint; if it is not whole, from the newest one beside it that is.

        With none there, from what the config names; with that gone, too, the trial starts again.
        The next report then carries `fell_back`.
        """
        start, self._from = self._from, None
        for checkpoint in candidates(tune.Checkpoint, checkpoint_path, start):
            try:
                super().restore(checkpoint)
            except NotWholeError:
                continue
            self._newest = checkpoint
            break
        else:
            self._newest, self._clock = None, START
        if self._newest is not checkpoint_path:
            self._fell_back = True
            self.__dict__.update(self._clock)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = self.loop.state_dict()
        selected = state.pop("selected")
        files = {} if selected is None else {"weights.pt": _bytes(selected)}
        if not self.loop.ended:
            clock = {key: getattr(self, key) for key in CLOCK}
            progress = {"clock": clock, "kept": self._kept_now}
            files |= {"state.pt": _bytes(state), "progress.json": json.dumps(progress).encode()}
            if self.loop.kept is not None and not self._kept_now:
                files["kept.pt"] = _bytes(self.loop.kept)
        seal(Path(checkpoint_dir), files)

    def load_checkpoint(self, checkpoint: Any) -> None:
        if self._going_back and self.memory_resets and self.loop.kept is not None:
            return
        files = sealed(Path(checkpoint))
        if files is None or "state.pt" not in files:
            raise NotWholeError(f"{checkpoint} is no whole checkpoint of a running trial")
        state = _tensors(files["state.pt"], self.loop.device)
        progress, clock = _progress(files.get("progress.json", b""))
        kept = None
        if "kept.pt" in files:
            kept = _tensors(files["kept.pt"], self.loop.device)
        elif progress:
            kept = self.loop.target(state)
        if self._going_back:
            self.loop.kept = kept
            return
        weights = files.get("weights.pt")
        state["selected"] = None if weights is None else _tensors(weights, self.loop.device)
        self.loop.load_state_dict(state, kept)
        self._kept_now, self._clock = progress, clock

    def _begin(self, config: dict[str, Any]) -> None:
        plain = {key: value for key, value in config.items() if key != "trial"}
        if self.chain is not None:
            plain["methods"] = _bound(self.chain, plain.get("methods") or {})
        about = config.get("trial") or {}
        self._from = about.get("from")
        self._newest = None
        self._going_back = self._kept_now = self._fell_back = False
        self._clock = {}
        self._saved = time.monotonic()
        torch.set_num_threads(max(1, int(self._granted("CPU", 1))))
        # Ray hides GPUs from a trial that asked for some, but not from one that asked for none
        device = ("cuda" if self._granted("GPU", 0) else "cpu") if ray.is_initialized() else None
        parsed = Config.parse(plain)
        data = self._prepared(parsed.task)
        if about.get("labels") not in (None, data.noise.hash):
            raise ConfigError(
                f"noise: labels made on this machine have hash {data.noise.hash[:12]}, the study's "
                f"{about['labels'][:12]} (clear the data cache under NOISETUNE_HOME)"
            )
        self.loop = Loop(parsed, data, device=device)
        self.loop.fetch = self._fetch

    def _prepared(self, task: Task) -> Dataset:
        """The task's data; the trials of a study that share an actor share it, too."""
        wanted = {name: getattr(task, name) for name in DATA_FIELDS}
        if not hasattr(self, "_data") or self._data[0] != wanted:
            self._data = wanted, prepare(task)
        return self._data[1]

    def _granted(self, resource: str, otherwise: float) -> float:
        request = self.trial_resources
        granted: float = request.required_resources.get(resource, 0) if request else otherwise
        return granted

    def _fetch(self) -> dict[str, Any]:
        """The kept state, by Tune's restore of the newest checkpoint; the clock stays."""
        if self._newest is not None:
            clock = {key: getattr(self, key) for key in CLOCK}
            self._going_back = True
            try:
                tune.Trainable.restore(self, self._newest)
            finally:
                self._going_back = False
                self.__dict__.update(clock)
        assert self.loop.kept is not None, "back() before the first keep()"
        return self.loop.kept


def trainable_for(chain: str) -> type[Trial]:
    """A Trainable of one chain, for a `tune.Tuner` of your own.

    Its `param_space` is the nested trial config; what is missing takes the digits task. Report
    `score` is the noisy-validation score to tune on.

    Raises:
        ConfigError: an unknown method, or methods that cannot run together.

    >>> trainable_for("reset+mr").__name__
    'Trial_mr_reset'
    """
    name = name_of(parse(chain))
    suffix = name.replace("+", "_").replace("-", "_")
    return type(f"Trial_{suffix}", (Trial,), {"chain": name, "__doc__": f"A trial of {name}."})


def _bound(chain: str, settings: dict[str, Any]) -> dict[str, Any]:
    names = parse(chain)
    for name in settings:
        if name not in names:
            raise ConfigError(f"methods.{name}: this Trainable runs {chain} (leave {name} out)")
    return {name: settings.get(name) or {} for name in names}


def _progress(data: bytes) -> tuple[bool, dict[str, Any]]:
    """Whether a checkpoint holds the kept state, and Tune's clock; nothing else is taken over."""
    try:
        found = json.loads(data)
        clock = {key: found["clock"][key] for key in CLOCK}
        kept = found["kept"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise NotWholeError("progress.json is not what this program writes") from error
    if type(kept) is not bool or any(
        type(x) not in (int, float, type(None)) for x in clock.values()
    ):
        raise NotWholeError("progress.json is not what this program writes")
    return kept, clock


def _bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _tensors(data: bytes, device: torch.device) -> Any:
    try:
        return torch.load(io.BytesIO(data), weights_only=True, map_location=device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # as bare as torch's reader raises it
        raise NotWholeError("a checkpoint holds what torch does not read") from error
