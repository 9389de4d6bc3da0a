"""What a study would cost, from a short measurement on this machine: `--dry-run`."""

import time
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from tuning.holes import Choice, Hole
from tuning.progress import duration
from tuning.run import Resources
from tuning.space import ChainSpace, Plan

PROBE_STEPS = 20
START_SECONDS = 15.0  # of Ray and its first actors, as measured on two cores
REPORT_BYTES = 1500  # of one report in journal, tables and event files, as measured
PROCESS_MB = 500  # of a trial's process with torch loaded, beside its tensors


def forecast(plan: Plan, data: Dataset, resources: Resources, folder: Path) -> RenderableType:
    """The plan as a table, with time, disk and memory at most."""
    chains = len(plan.chains)
    each = -(-plan.study["trials"] // chains)
    seconds = bytes_ = reports = 0.0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("chain", "trials", "s/trial", "holes", "tried first"):
        table.add_column(head)
    for chain in plan.chains:
        config = Config.parse(chain.config(chain.sample))
        took, size = probe(config, data, max(1, int(resources.cpus)))
        seconds += took * each
        bytes_ = max(bytes_, size)
        reports += each * config.task.epochs * 2
        first = "; ".join(spelt(start) for start in chain.starts[:3]) or "-"
        table.add_row(
            chain.chain,
            str(each),
            f"{took:.1f}",
            "\n".join(map(hole, chain.holes)) or "none",
            first,
        )
    # a running trial holds two checkpoints of state, kept state and weights; the best keep weights
    running = resources.concurrency * 2 * 5 * bytes_
    disk = running + (plan.study["keep"] + 1) * bytes_ + reports * REPORT_BYTES
    memory = resources.concurrency * (PROCESS_MB * 1e6 + 6 * bytes_ + data.images.nbytes * 5)
    noise = data.noise
    lines = [
        f"study    {folder}",
        f"task     {plan.name}: {len(data.train)} training and {len(data.validation)} validation "
        f"images, {noise.rate:.1%} of the labels changed",
        f"search   {plan.study['searcher']} with {plan.study['scheduler']}, "
        f"{each * chains} trials, select {plan.study['select']} {plan.study['metric']}",
        f"at once  {resources.concurrency} trials of {resources.cpus:g} CPU, "
        f"{resources.gpus:g} GPU",
        f"time     at most {duration(seconds / resources.concurrency + START_SECONDS)}, "
        "were no trial stopped early",
        f"disk     at most {disk / 1e6:.1f} MB, of which {running / 1e6:.1f} MB checkpoints of "
        "running trials",
        f"memory   about {memory / 1e6:.0f} MB",
    ]
    notes = [f"note     {note}" for note in plan.notes]
    return Group(*map(Text, [*lines, *notes, ""]), table)


def probe(config: Config, data: Dataset, threads: int) -> tuple[float, float]:
    """Seconds a whole trial would take here, and bytes of its weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loop = Loop(config, data)
        for warm in (True, False):
            began = time.perf_counter()
            steps = loop.step
            while loop.step - steps < (2 if warm else PROBE_STEPS) and not loop.ended:
                loop.advance()
            took = time.perf_counter() - began
            count = loop.step - steps
        began = time.perf_counter()
        loop.validate()
        loop.losses()  # what a method may add to each epoch, at most
        epoch_end = time.perf_counter() - began
        per_epoch = took / max(1, count) * loop.steps_per_epoch + epoch_end
        size = sum(tensor.nbytes for tensor in loop.model.state_dict().values())
        return per_epoch * loop.epochs, float(size)
    finally:
        torch.set_num_threads(before)


def hole(hole: Hole) -> str:
    """A hole in a few words."""
    domain = hole.domain
    if isinstance(domain, Choice):
        return f"{hole.column} {' | '.join(str(option.value) for option in domain.options)}"
    kind = type(domain).__name__.lower()
    return f"{hole.column} {kind} {domain.low:g} .. {domain.high:g}"


def spelt(start: dict[str, object]) -> str:
    """A start point in a few words."""
    return ", ".join(f"{name} {value}" for name, value in start.items()) or "the defaults"
