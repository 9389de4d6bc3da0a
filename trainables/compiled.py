"""`torch.compile` for the network of a trial, where the machine can do it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same network with kernels of its own; the plain one where they cannot be made.

    What is compiled at the first batches shares the model's parameters. Without a working compiler
    torch warns and runs the network as it is.
    """
    torch._dynamo.config.suppress_errors = True  # else a missing C++ compiler ends the trial
    # one set of kernels per shape: an epoch has two, its batch and its last batch
    made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    return made
