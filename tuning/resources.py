"""What each trial gets of the machines, and how many trials fit at a time."""

from argparse import Namespace
from dataclasses import dataclass

import torch

from trainables.errors import ConfigError
from tuning.session import cores


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
    return fitting(args, cores(), torch.cuda.device_count(), "this machine")


def cluster_resources(args: Namespace, found: dict[str, float]) -> Resources:
    """What trials get on a running cluster."""
    return fitting(args, found.get("CPU", 0), found.get("GPU", 0), f"the cluster at {args.address}")


def fitting(args: Namespace, cpus: float, gpus: float, where: str) -> Resources:
    """The asked for or usual resources of a trial, and as many trials as fit."""
    cpu = 1.0 if args.cpus is None else args.cpus
    gpu = min(1.0, gpus) if args.gpus is None else args.gpus
    for flag, asked, there in (("--cpus", cpu, cpus), ("--gpus", gpu, gpus)):
        if asked > there:
            raise ConfigError(f"{flag} {asked:g}: {where} has {there:g} (ask for less)")
    most = int(cpus / cpu) if not gpu else min(int(cpus / cpu), int(gpus / gpu))
    return Resources(cpu, gpu, min(args.concurrency or most, most))
