"""Optimizers over all of a model's parameters."""

import torch

from trainables.config import Optim


def make_optimizer(
    optim: Optim, model: torch.nn.Module, *, decays: bool = True
) -> torch.optim.Optimizer:
    """The optimizer of a config over all of a model's parameters.

    Args:
        optim: its settings.
        model: what it trains.
        decays: whether it applies the weight decay; false where a method does.
    """
    parameters = list(model.parameters())
    decay = optim.decay if decays else 0.0
    if optim.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=optim.lr,
            momentum=optim.momentum,
            nesterov=optim.nesterov,
            weight_decay=decay,
            fused=True,
        )
    kind = torch.optim.Adam if optim.name == "adam" else torch.optim.AdamW
    betas = (optim.momentum, optim.beta2)
    return kind(parameters, lr=optim.lr, betas=betas, weight_decay=decay, fused=True)
