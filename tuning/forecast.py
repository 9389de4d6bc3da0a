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
from tuning.allocate import Dealer, Equal, dealer_of
from tuning.holes import Choice, Hole
from tuning.notes import notes
from tuning.places import Place
from tuning.resources import (
    PrivatePeak,
    Resources,
    free_memory,
    gibibytes,
    megabytes,
    refuse_crowding,
)
from tuning.room import heaviest
from tuning.shown import duration
from tuning.space import ChainSpace, Plan

START_SECONDS = 15.0  # of Ray and its first actors, as measured on two cores
REPORT_BYTES = 1500  # of one report in journal, tables and event files, as measured
PROCESS_BYTES = 490_000_000  # of a trial's process beside its tensors, as measured
RAY_BYTES = 920_000_000  # of this program and the helpers of a Ray of its own, as measured
WIDTH, INDENT = 80, " " * 9  # columns


def forecast(
    plan: Plan, data: Dataset, resources: Resources, folder: Place, gpu: int | None
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
    dealer = dealer_of(plan)
    total = sum(dealer.shares.values()) + dealer.free
    began = time.perf_counter()
    with PrivatePeak() as peak:
        costs = [cost(plan, chain, data, resources, device) for chain in plan.chains]
    measured = time.perf_counter() - began
    weights = max(cost.weights for cost in costs)
    epochs = plan.example.task.epochs
    reports = total * epochs * 2 * REPORT_BYTES
    running = savers(plan, dealer, resources.concurrency) * 2 * max(c.checkpoint for c in costs)
    disk = running + (plan.study["keep"] + 1) * weights + reports
    heavy = heaviest(plan, data)
    private = PROCESS_BYTES + (6 * weights if peak.size is None else peak.size) + heavy.rows.file
    memory = resources.concurrency * private + RAY_BYTES
    space, free = free_disk(folder), free_memory()
    room = "in an object store" if space is None else f"{megabytes(space)} free"
    lines = [
        f"study    {folder}",
        f"task     {plan.name}: {parts(data)} images, {data.noise.rate:.1%} of the labels changed",
        f"search   {plan.study['searcher']} with {plan.study['scheduler']}, "
        f"{dealt(dealer)}, select {plan.study['select']} {plan.study['metric']}",
        f"at once  {resources.concurrency} trials of {resources.cpus:g} CPU, "
        f"{resources.gpus:g} GPU",
        f"time     about {times(plan, dealer, costs, resources.lanes)}, "
        "were no trial stopped early",
        f"disk     about {megabytes(disk)}, of which {megabytes(running)} checkpoints of "
        f"trials that go on; {room}",
        f"cache    {megabytes(cache_bytes(data))} of {plan.example.task.data}, written already, "
        f"in {home()}",
        f"memory   about {megabytes(memory)}: {resources.concurrency} x {megabytes(private)}, "
        f"{megabytes(RAY_BYTES)} Ray"
        + ("" if free is None else f"; {megabytes(free)} free")
        + f"; all trials share {megabytes(data.images.nbytes)} of images, which the system caches "
        "where there is room",
    ]
    if heavy.rows.held:
        lines.append(
            f"rows     {heavy.chain} holds {megabytes(heavy.rows.held)} for {heavy.rows.size:,} "
            f"training images of {heavy.rows.classes:,} classes in each trial, with copies to save "
            f"{megabytes(heavy.rows.peak(gpu is not None))} of the {'GPU' if gpu else 'memory'}"
        )
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
    if space is not None and disk > space:
        lines.append("warning  the disk is too small for that: choose another --storage")
    if free is not None and memory > free:
        lines.append("warning  memory is too small for that: choose a lower --concurrency")
    noted = [f"note     {note}" for note in (*plan.notes, *notes(plan))]
    if plan.example.task.compile:
        noted.append("note     compile: up to a minute for each trial comes on top of that time")
    shown = [lines[0], *map(folded, [*lines[1:], *noted])]  # the study's path is for copying
    return Group(*map(Text, [*shown, ""]), chains(plan, costs, dealer))


def savers(plan: Plan, dealer: Dealer, concurrency: int) -> int:
    """How many trials have checkpoints at a time, two each.

    All of a population do: its members stand until its generation turns, and what their donors had
    is kept until the next one does.
    """
    total = sum(dealer.shares.values()) + dealer.free
    return total if plan.study["scheduler"] == "pbt" else concurrency


def dealt(dealer: Dealer) -> str:
    """How many trials there are, and which of them a sampler may give to any chain."""
    given = sum(dealer.shares.values())
    if isinstance(dealer, Equal):
        return f"{given} trials"
    return f"{given + dealer.free} trials ({given} given, {dealer.free} dealt by the sampler)"


def times(plan: Plan, dealer: Dealer, costs: list[Cost], lanes: float) -> str:
    """How long all trials take; from, to, where a sampler may choose cheap chains or dear ones."""
    pairs = list(zip(plan.chains, costs, strict=True))
    given = sum(cost.seconds * dealer.shares[chain.chain] for chain, cost in pairs)
    each = [cost.seconds for chain, cost in pairs if chain.most is None] if dealer.free else [0.0]
    ends = [given + dealer.free * end for end in (min(each), max(each))]
    told = [duration(seconds / lanes + START_SECONDS) for seconds in ends]
    return " to ".join(dict.fromkeys(told))


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


def parts(data: Dataset) -> str:
    """How many images train, validate and are trusted."""
    if not len(data.trusted):
        return f"{len(data.train)} training and {len(data.validation)} validation"
    return (
        f"{len(data.train)} training, {len(data.validation)} validation and {len(data.trusted)} "
        "trusted"
    )


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


def chains(plan: Plan, costs: list[Cost], dealer: Dealer) -> Table:
    """What is searched in each chain."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("chain", "trials", "a trial", "holes", "tried first"):
        table.add_column(head)
    for chain, cost in zip(plan.chains, costs, strict=True):
        more = " or more" * (dealer.free > 0 and chain.most is None)
        table.add_row(
            chain.chain,
            f"{dealer.shares[chain.chain]}{more}",
            f"{cost.seconds:.1f} s" if cost.seconds < 60 else duration(cost.seconds),
            "\n".join(map(hole, chain.holes)) or "none",
            "; ".join(spelt(start) for start in chain.starts[:3]) or "-",
        )
    return table


def free_disk(folder: Place) -> int | None:
    """Bytes that can be written where a folder is, or will be; None for an object store."""
    if not isinstance(folder, Path):
        return None
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def cache_bytes(data: Dataset) -> int:
    """Of a data set's files in the cache."""
    files = (home() / "data" / data.address).glob("*")
    return sum(file.stat().st_size for file in files)


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
