"""What training a config costs on this machine, from a few steps of it."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.data.resident import SHARE, scaled
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.passes import Passes
from trainables.rows import rows_of

TRIED, MEASURED = 3, 20  # steps, at most
STEP_SECONDS, PASS_SECONDS = 3.0, 1.0  # after which no further step or pass is measured
EPOCH_SECONDS = 2.0  # an epoch that takes no longer is measured as a whole
CONTEXT_BYTES = 500_000_000  # what CUDA takes of a GPU for each process


@dataclass(frozen=True)
class Cost:
    """Of one trial.

    Attributes:
        seconds: of all its epochs, with a pass over the data at the end of each.
        weights: bytes of the model's parameters and buffers.
        checkpoint: bytes of what is saved of a running trial.
        on_gpu: bytes it took of a GPU at most; 0 on a CPU.
        steps: how many were measured; the first, which compiles and allocates, is never one.
        whole: whether they were an epoch, with all that methods do in it and at its end.
    """

    seconds: float
    weights: int
    checkpoint: int
    on_gpu: int
    steps: int
    whole: bool


def try_out(config: Config, data: Dataset) -> int:
    """Refuse a network that these images do not fit; give the bytes of its weights.

    Raises:
        ConfigError: naming the network and the images' shape.
    """
    channels, height, width = data.images.shape[1:]
    single = min(config.task.optim.batch, len(data.train)) == 1
    try:
        with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
            # shapes alone: no memory, no draw; a layer of no units is refused below, not warned of
            warnings.simplefilter("ignore")
            model = config.make_model().build((channels, height, width), len(data.classes))
            model.eval()(torch.empty(2, channels, height, width))
            if single:  # batch norm has no deviation of one row
                model.train()(torch.empty(1, channels, height, width))
    except ConfigError:
        raise  # of the network's own options
    except (RuntimeError, ValueError) as error:
        name = config.task.model.name
        larger = ", or a larger optim.batch" if single else ""
        raise ConfigError(
            f"model = {name}: does not fit images of {channels} x {height} x {width} "
            f"({str(error).splitlines()[0]}); choose another model{larger}"
        ) from error
    return _bytes(model.state_dict())


def least_on_gpu(config: Config, data: Dataset, weights: int, total: int) -> int:
    """Bytes that a trial takes of a GPU whatever its batches need: what it copies there.

    These are the images, unless the GPU of `total` bytes is too small for them (then they are
    gathered batch by batch); parameters, gradients, the optimizer's memories and the selected
    weights; all but the gradients once more while a checkpoint is made; and what methods hold for
    each training example.
    """
    images = data.images[0].nbytes * len(data.rows)
    optim = config.task.optim
    memories = (1 if optim.momentum else 0) if optim.name == "sgd" else 2
    copies = (1 + 1 + memories + 1) + (1 + memories + 1)
    rows = rows_of(config, data).peak(gpu=True)
    return CONTEXT_BYTES + (images if images <= SHARE * total else 0) + copies * weights + rows


def measure(config: Config, data: Dataset, threads: int, device: str = "cpu") -> Cost:
    """Train a few steps with so many threads and tell what the whole trial would cost.

    It takes seconds, unless the model's first steps take longer: one step passes, at least one
    more is measured, further ones only while there is time. An epoch that is short is measured as a
    whole; of a long one, steps and one pass over a range of images.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        loop = Loop(_longer(config), data, device=device)
        try:
            loop.advance()
            trained, steps = _steps(loop, TRIED)
            whole = trained * loop.steps_per_epoch < EPOCH_SECONDS
            if whole:
                _steps(loop, -loop.step % loop.steps_per_epoch)  # also an epoch's end has a first
                trained, steps = _steps(loop, loop.steps_per_epoch)
                whole = steps == loop.steps_per_epoch
            elif trained * steps < STEP_SECONDS:
                trained, steps = _steps(loop, MEASURED)
            epoch = trained * loop.steps_per_epoch
            if not whole:  # what a method adds is, for most, a pass over the training images
                count = len(data.validation)
                epoch += _pass_seconds(loop, count) * (count + len(data.trusted) + loop.size)
            state = loop.state_dict()
        finally:
            loop.close()
    finally:
        torch.set_num_threads(before)
    weights = _bytes(state["model"])
    held = 0
    if cuda:  # the selected weights, and their copy for a checkpoint, come with the first epoch
        held = torch.cuda.max_memory_reserved(device) + CONTEXT_BYTES + 2 * weights
    return Cost(
        seconds=epoch * config.task.epochs,
        weights=weights,
        # with the selected weights and the state a reset returns to
        checkpoint=_bytes({**state, "selected": None}) + weights + _bytes(loop.target(state)),
        on_gpu=held,
        steps=steps,
        whole=whole,
    )


def _longer(config: Config) -> Config:
    """The same trial with epochs to spare: steps can be measured however short it is."""
    task = config.task.model_copy(update={"epochs": config.task.epochs + TRIED + 1})
    return config.model_copy(update={"task": task})


def _steps(loop: Loop, most: int) -> tuple[float, int]:
    """Train up to `most` steps, even of a diverged trial; seconds of one, and their count."""
    began, count = _now(loop), 0
    while count < most and loop.step < loop.steps:
        loop.advance()
        count += 1
        if time.perf_counter() - began >= STEP_SECONDS:
            break
    return (_now(loop) - began) / max(1, count), count


def _pass_seconds(loop: Loop, count: int) -> float:
    """Seconds that a forward pass takes for each of `count` validation images.

    As with steps, the first range of images is not measured.
    """
    passes = Passes(loop.data.shape, loop.device)
    some = min(count, passes.rows)

    def passed() -> None:
        passes.over(lambda part: loop.forward(scaled(loop.data.validation(part))), some)

    loop.model.eval()
    with torch.no_grad():
        passed()
        began, done = _now(loop), 0
        while not done or (done < count and time.perf_counter() - began < PASS_SECONDS):
            passed()
            done += some
    loop.model.train()
    return (_now(loop) - began) / done


def _now(loop: Loop) -> float:
    """The clock, once the device has done what it was told to."""
    if loop.device.type == "cuda":
        torch.cuda.synchronize(loop.device)
    return time.perf_counter()


def _bytes(value: Any) -> int:
    """Of all tensors in nested containers."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return 0
