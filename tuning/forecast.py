"""What a study would cost, from a short measurement on this machine: `--dry-run`."""

import shutil
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainables.config import Config
from trainables.cost import Cost, measure
from trainables.data.dataset import Dataset
from trainables.data.sources.roots import home
from trainables.errors import ConfigError
from tuning.holes import Choice, Hole
from tuning.progress import duration
from tuning.resources import PrivatePeak, Resources, free_memory, gibibytes, refuse_crowding
from tuning.space import ChainSpace, Plan

START_SECONDS = 15.0  # of Ray and its first actors, as measured on two cores
REPORT_BYTES = 1500  # of one report in journal, tables and event files, as measured
PROCESS_BYTES = 490_000_000  # of a trial's process beside its tensors, as measured
RAY_BYTES = 920_000_000  # of this program and the helpers of a Ray of its own, as measured
WIDTH, INDENT = 80, " " * 9  # columns


def forecast(
    plan: Plan, data: Dataset, resources: Resources, folder: Path, gpu: int | None
) -> RenderableType:
    """The plan as a table, with about what time, disk and memory it takes.

    Args:
        plan: the study.
        data: its data.
        resources: of each trial.
        folder: the study's; it need not be there.
        gpu: bytes of the smallest GPU that trials get; None where they get none.

    Raises:
        ConfigError: so many trials do not fit on one GPU.
    """
    device = "cuda" if gpu else "cpu"
    share = -(-plan.study["trials"] // len(plan.chains))
    trials = [min(share, chain.most or share) for chain in plan.chains]
    began = time.perf_counter()
    with PrivatePeak() as peak:
        costs = [cost(plan, chain, data, resources, device) for chain in plan.chains]
    measured = time.perf_counter() - began
    seconds = sum(cost.seconds * count for cost, count in zip(costs, trials, strict=True))
    weights = max(cost.weights for cost in costs)
    epochs = plan.example.task.epochs
    reports = sum(trials) * epochs * 2 * REPORT_BYTES
    running = resources.concurrency * 2 * max(cost.checkpoint for cost in costs)
    disk = running + (plan.study["keep"] + 1) * weights + reports
    private = PROCESS_BYTES + (6 * weights if peak.size is None else peak.size)
    memory = resources.concurrency * private + RAY_BYTES
    space, free = free_disk(folder), free_memory()
    lines = [
        f"study    {folder}",
        f"task     {plan.name}: {len(data.train)} training and {len(data.validation)} validation "
        f"images, {data.noise.rate:.1%} of the labels changed",
        f"search   {plan.study['searcher']} with {plan.study['scheduler']}, "
        f"{sum(trials)} trials, select {plan.study['select']} {plan.study['metric']}",
        f"at once  {resources.concurrency} trials of {resources.cpus:g} CPU, "
        f"{resources.gpus:g} GPU",
        f"time     about {duration(seconds / resources.lanes + START_SECONDS)} "
        "were no trial stopped early",
        f"disk     about {megabytes(disk)}, of which {megabytes(running)} checkpoints of "
        f"running trials; {megabytes(space)} free",
        f"cache    {megabytes(cache_bytes(data))} of {plan.example.task.data}, written already, "
        f"in {home()}",
        f"memory   about {megabytes(memory)}: {resources.concurrency} x {megabytes(private)}, "
        f"{megabytes(RAY_BYTES)} Ray"
        + ("" if free is None else f"; {megabytes(free)} free")
        + f"; all trials share {megabytes(data.images.nbytes)} of images, which the system caches "
        "where there is room",
    ]
    if gpu:
        need = max(cost.on_gpu for cost in costs)
        refuse_crowding(resources, need, gpu)
        lines.append(
            f"GPU      {resources.sharing} x {gibibytes(need)} on a GPU of {gibibytes(gpu)}"
        )
    lines.append(
        f"measured {told(costs)} of each chain with its first settings, after a first one, alone "
        f"on this machine's {'GPU' if gpu else 'CPU'}; {measured:.1f} s in all"
    )
    if disk > space:
        lines.append("warning  the disk is too small for that: choose another --storage")
    if free is not None and memory > free:
        lines.append("warning  memory is too small for that: choose a lower --concurrency")
    notes = [f"note     {note}" for note in plan.notes]
    if plan.example.task.compile:
        notes.append("note     compile: up to a minute for each trial comes on top of that time")
    shown = [lines[0], *map(folded, [*lines[1:], *notes])]  # the study's path is for copying
    return Group(*map(Text, [*shown, ""]), chains(plan, costs, trials))


def cost(plan: Plan, chain: ChainSpace, data: Dataset, resources: Resources, device: str) -> Cost:
    """What a trial of a chain costs, with the settings of its first sample."""
    config = Config.parse(chain.config(chain.sample))
    try:
        return measure(config, data, max(1, int(resources.cpus)), device)
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"optim.batch = {config.task.optim.batch}: a step of {chain.chain} does not fit the "
            "GPU's free memory (choose a smaller batch or model)"
        ) from None


def told(costs: list[Cost]) -> str:
    """What of each chain was measured."""
    if all(cost.whole for cost in costs):
        return "1 epoch"
    least = min(cost.steps for cost in costs)
    more = any(cost.steps > least for cost in costs)
    return f"{least} step{'s' * (least != 1)}{' or more' * more}"


def folded(line: str) -> str:
    """A line of the plan in as many as its width needs; words stay whole.

    >>> folded("note     " + "word " * 16).splitlines()[1]
    '         word word'
    """
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def chains(plan: Plan, costs: list[Cost], trials: list[int]) -> Table:
    """What is searched in each chain."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("chain", "trials", "a trial", "holes", "tried first"):
        table.add_column(head)
    for chain, cost, count in zip(plan.chains, costs, trials, strict=True):
        table.add_row(
            chain.chain,
            str(count),
            f"{cost.seconds:.1f} s" if cost.seconds < 60 else duration(cost.seconds),
            "\n".join(map(hole, chain.holes)) or "none",
            "; ".join(spelt(start) for start in chain.starts[:3]) or "-",
        )
    return table


def free_disk(folder: Path) -> int:
    """Bytes that can be written where a folder is, or will be."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def cache_bytes(data: Dataset) -> int:
    """Of a data set's files in the cache."""
    files = (home() / "data" / data.address).glob("*")
    return sum(file.stat().st_size for file in files)


def megabytes(size: float) -> str:
    """Bytes in a unit that suits them.

    >>> [megabytes(size) for size in (2_345_678, 123_456_789, 22_400_000_000)]
    ['2.3 MB', '123 MB', '22.4 GB']
    """
    if size < 1e9:
        return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB"


def hole(hole: Hole) -> str:
    """A hole in a few words."""
    domain = hole.domain
    if isinstance(domain, Choice):
        return f"{hole.column} {' | '.join(str(option.value) for option in domain.options)}"
    kind = type(domain).__name__.lower()
    return f"{hole.column} {kind} {domain.low:g} .. {domain.high:g}"


def spelt(start: Mapping[str, object]) -> str:
    """A start point in a few words."""
    return ", ".join(f"{name} {value}" for name, value in start.items()) or "the defaults"
