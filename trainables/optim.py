"""Optimizers over all of a model's parameters."""

import torch

from trainables.config import Optim


def make_optimizer(optim: Optim, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a config over all of a model's parameters."""
    parameters = list(model.parameters())
    if optim.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=optim.lr,
            momentum=optim.momentum,
            nesterov=optim.nesterov,
            weight_decay=optim.decay,
            fused=True,
        )
    kind = torch.optim.Adam if optim.name == "adam" else torch.optim.AdamW
    betas = (optim.momentum, optim.beta2)
    return kind(parameters, lr=optim.lr, betas=betas, weight_decay=optim.decay, fused=True)
