"""What a study would cost, from a short measurement on this machine: `--dry-run`."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainables.config import Config
from trainables.cost import measure
from trainables.data.dataset import Dataset
from tuning.holes import Choice, Hole
from tuning.progress import duration
from tuning.resources import Resources
from tuning.space import Plan

START_SECONDS = 15.0  # of Ray and its first actors, as measured on two cores
REPORT_BYTES = 1500  # of one report in journal, tables and event files, as measured
PROCESS_MB = 500  # of a trial's process with torch loaded, beside its tensors


def forecast(plan: Plan, data: Dataset, resources: Resources, folder: Path) -> RenderableType:
    """The plan as a table, with time, disk and memory at most."""
    chains = len(plan.chains)
    each = -(-plan.study["trials"] // chains)
    seconds = weights = reports = 0.0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("chain", "trials", "s/trial", "holes", "tried first"):
        table.add_column(head)
    for chain in plan.chains:
        config = Config.parse(chain.config(chain.sample))
        cost = measure(config, data, max(1, int(resources.cpus)))
        seconds += cost.seconds * each
        weights = max(weights, cost.weights)
        reports += each * config.task.epochs * 2
        first = "; ".join(spelt(start) for start in chain.starts[:3]) or "-"
        table.add_row(
            chain.chain,
            str(each),
            f"{cost.seconds:.1f}",
            "\n".join(map(hole, chain.holes)) or "none",
            first,
        )
    # a running trial holds two checkpoints of state, kept state and weights; the best keep weights
    running = resources.concurrency * 2 * 5 * weights
    disk = running + (plan.study["keep"] + 1) * weights + reports * REPORT_BYTES
    memory = resources.concurrency * (PROCESS_MB * 1e6 + 6 * weights + data.images.nbytes * 5)
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
