"""What training a config costs on this machine, from a few steps of it."""

import time
from dataclasses import dataclass

import torch

from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop

WARM, MEASURED = 2, 20  # steps


@dataclass(frozen=True)
class Cost:
    """Of one trial.

    Attributes:
        seconds: of all its epochs, with a pass over the data at the end of each.
        weights: bytes of the model's parameters and buffers.
    """

    seconds: float
    weights: int


def try_out(config: Config, data: Dataset) -> None:
    """Refuse a network that these images do not fit.

    Raises:
        ConfigError: naming the network and the images' shape.
    """
    channels, height, width = data.images.shape[1:]
    try:
        with torch.device("meta"), torch.no_grad():  # shapes alone: no memory, no draw
            model = config.make_model().build((channels, height, width), len(data.classes))
            model.eval()(torch.empty(2, channels, height, width))
    except (RuntimeError, ValueError) as error:
        name = config.task.model.name
        raise ConfigError(
            f"model = {name}: does not fit images of {channels} x {height} x {width} "
            f"({str(error).splitlines()[0]}); choose another model"
        ) from error


def measure(config: Config, data: Dataset, threads: int) -> Cost:
    """Train a few steps with so many threads and tell what the whole trial would cost."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loop = Loop(config, data)
        _steps(loop, WARM)
        began = time.perf_counter()
        count = _steps(loop, MEASURED)
        trained = time.perf_counter()
        loop.validate()
        loop.losses()  # at most what a method adds to an epoch
        ended = time.perf_counter()
    finally:
        torch.set_num_threads(before)
    epoch = (trained - began) / count * loop.steps_per_epoch + (ended - trained)
    size = sum(tensor.nbytes for tensor in loop.model.state_dict().values())
    return Cost(epoch * loop.epochs, size)


def _steps(loop: Loop, most: int) -> int:
    count = 0
    while count < most and not loop.ended:
        loop.advance()
        count += 1
    return max(1, count)
