"""Copies of a model and its optimizer that later training cannot reach.

torch's `Optimizer.load_state_dict` keeps references to the tensors it is given and takes over the
donor's learning rate: a snapshot that is not copied changes under training, and one that is loaded
whole overwrites the schedule. So buffers alone are copied, on the way out and on the way in.
"""

from typing import Any

import torch
from torch import Tensor, nn

Buffers = dict[int, dict[str, Any]]


def copied(value: Any) -> Any:
    """A deep copy of nested containers of tensors and plain values.

    >>> kept = {"a": torch.zeros(1)}
    >>> other = copied(kept)
    >>> kept["a"] += 1
    >>> other
    {'a': tensor([0.])}
    """
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item) for item in value)
    return value


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter and buffer."""
    return {name: copied(tensor) for name, tensor in model.state_dict().items()}


def buffers(optimizer: torch.optim.Optimizer) -> Buffers:
    """A copy of what the optimizer has gathered; no hyperparameter."""
    state: Buffers = copied(optimizer.state_dict()["state"])
    return state


def load_buffers(optimizer: torch.optim.Optimizer, state: Buffers) -> None:
    """Put copied buffers back; learning rate and other hyperparameters stay those of now."""
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": copied(state), "param_groups": groups})
