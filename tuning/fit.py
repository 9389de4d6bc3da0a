"""The doctor's check of a plan: is there room on disk and in memory for what it would take?

Nothing is trained, so sizes are bounds from the networks' shapes; `--dry-run` measures.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset
    from tuning.space import ChainSpace


def plan(args: argparse.Namespace) -> Iterator[Finding]:
    """Sizes of the study that `--method`, `--task`, `--space` and `--set` describe, against room.

    The data set is read, and put into the cache as a search would do.
    """
    import torch

    from trainables.data.dataset import prepare
    from tuning.allocate import dealer_of
    from tuning.forecast import PROCESS_BYTES, RAY_BYTES, REPORT_BYTES, free_disk, parts, savers
    from tuning.places import place_of
    from tuning.resources import free_memory, megabytes
    from tuning.session import cores
    from tuning.space import load

    flags = {name: getattr(args, name) for name in ("trials", "keep")}
    made = load(
        args.method,
        task=args.task,
        spaces=[Path(path) for path in args.space],
        settings=args.set,
        seed=0,
        study_flags={name: value for name, value in flags.items() if value is not None},
    )
    dealer = dealer_of(made)
    data = prepare(made.example.task)
    yield ok("plan", f"{args.method} on {made.name}: {parts(data)} images")
    many = args.concurrency or (1 if args.address else max(1, torch.cuda.device_count() or cores()))
    sizes = [size_of(chain, data) for chain in made.chains]
    weights, saved = (max(kind) for kind in zip(*sizes, strict=True))
    reports = (sum(dealer.shares.values()) + dealer.free) * made.example.task.epochs * 2
    keep = made.study["keep"] + 1
    held = savers(made, dealer, many)
    disk = held * 2 * saved + keep * weights + reports * REPORT_BYTES
    folder = place_of(args.storage, "--storage")
    free = free_disk(folder)
    told = (
        f"up to {megabytes(disk)}: {held} x 2 checkpoints of {megabytes(saved)}, "
        f"{keep} x {megabytes(weights)} weights, tables"
    )
    if free is None:
        yield ok("disk", f"{told}; in an object store")
    elif disk > free:
        cure = "make room, choose another --storage, or a lower --keep or --concurrency"
        yield fail("disk", f"{told}; {megabytes(free)} free", cure)
    elif disk > free / 2:
        yield warn("disk", f"{told}; {megabytes(free)} free", "leave more than half of it alone")
    else:
        yield ok("disk", f"{told}; {megabytes(free)} free")
    if args.address:
        return
    memory = many * (PROCESS_BYTES + 2 * saved) + RAY_BYTES
    left = free_memory()
    told = f"about {megabytes(memory)} for {many} trials at a time and Ray"
    if left is None:
        yield ok("trials' memory", told)
    elif memory > left:
        cure = "choose a lower --concurrency"
        yield warn("trials' memory", f"{told}; {megabytes(left)} free", cure)
    else:
        yield ok("trials' memory", f"{told}; {megabytes(left)} free")


def size_of(chain: "ChainSpace", data: "Dataset") -> tuple[int, int]:
    """Bytes of a chain's weights, and of a checkpoint of it at most.

    That holds weights and what the optimizer remembers, the selected epoch's weights, what methods
    hold for each example, and with a reset the state that it goes back to.
    """
    from trainables.config import Config
    from trainables.cost import try_out
    from trainables.rows import rows_of

    config = Config.parse(chain.config(chain.sample))
    weights = try_out(config, data)
    state = 3 * weights  # Adam remembers two numbers of each
    resets = "reset" in config.methods
    return weights, state + weights + state * resets + rows_of(config, data).file
