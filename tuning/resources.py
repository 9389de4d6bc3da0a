"""What each trial gets of the machines, and how many trials fit at a time."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainables.errors import ConfigError
from tuning.session import Node, cores


@dataclass(frozen=True)
class Resources:
    """Of one trial, and how many run at a time."""

    cpus: float
    gpus: float
    concurrency: int


def local_resources(args: Namespace) -> Resources:
    """What trials get on this machine.

    Raises:
        ConfigError: more than there is.
    """
    return fitting(args, [(cores(), torch.cuda.device_count())], "this machine")


def cluster_resources(args: Namespace, nodes: Sequence[Node]) -> Resources:
    """What trials get on a running cluster; ConfigError when no node has as much."""
    if not any(cpus for cpus, _ in nodes):
        raise ConfigError(
            f"--address {args.address}: no worker of this cluster is up yet (wait until ray status "
            "shows CPUs)"
        )
    return fitting(args, nodes, f"no node of the cluster at {args.address}")


def fitting(args: Namespace, nodes: Sequence[Node], where: str) -> Resources:
    """The asked for or usual resources of a trial, and as many trials as fit."""
    most_cpus, most_gpus = (max(column) for column in zip(*nodes, strict=True))
    cpu = 1.0 if args.cpus is None else args.cpus
    gpu = min(1.0, most_gpus) if args.gpus is None else args.gpus
    for flag, asked, there in (("--cpus", cpu, most_cpus), ("--gpus", gpu, most_gpus)):
        if asked > there:
            more = "has more than" if where.startswith("no ") else "has"
            raise ConfigError(f"{flag} {asked:g}: {where} {more} {there:g} (ask for less)")
    fit = sum(int(min(cpus / cpu, gpus / gpu if gpu else cpus / cpu)) for cpus, gpus in nodes)
    if not fit:
        raise ConfigError(f"--cpus {cpu:g} --gpus {gpu:g}: {where} has both (ask for less)")
    return Resources(cpu, gpu, min(args.concurrency or fit, fit))
