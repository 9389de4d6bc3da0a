"""Whether there is room for what methods hold for each training example."""

from dataclasses import dataclass

from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.rows import Rows, rows_of
from tuning.resources import Resources, gibibytes, megabytes, share
from tuning.space import Plan


@dataclass(frozen=True)
class Heaviest:
    """The chain of a plan whose trials hold most for each training example, and a trial of it."""

    chain: str
    config: Config
    rows: Rows


def heaviest(plan: Plan, data: Dataset) -> Heaviest:
    """The first such chain."""
    found = []
    for chain in plan.chains:
        config = Config.parse(chain.config(chain.sample))
        found.append(Heaviest(chain.chain, config, rows_of(config, data)))
    return max(found, key=lambda one: one.rows.peak(gpu=False))


def refuse_rows(heavy: Heaviest, resources: Resources, room: int) -> None:
    """Refuse a study whose trials hold more, together, than there is room for.

    Args:
        heavy: whose trials may be all that run at a time.
        resources: what trials get.
        room: bytes of the smallest GPU, or of this machine's free memory for trials on a CPU.

    Raises:
        ConfigError: what they need and for what, what there is, and how many trials fit.
    """
    gpu, rows = resources.gpus > 0, heavy.rows
    peak = rows.peak(gpu)
    many = resources.sharing if gpu else resources.concurrency
    if many * peak <= room:
        return
    most, spelt = room // peak, gibibytes if gpu else megabytes
    each = f"1 trial {'on' if gpu else 'at'} a {'GPU' if gpu else 'time'} needs {spelt(peak)}"
    if many > 1:
        each = f"{many} trials {'on one GPU' if gpu else 'at a time'} need {many} x {spelt(peak)}"
    there = f"a GPU has {spelt(room)}" if gpu else f"{spelt(room)} of memory are free"
    cures = [f"leave out {' and '.join(rows.methods)}"]
    if most:
        flag = f"--gpus {share(most)}" if gpu else f"--concurrency {most}"
        if gpu and resources.concurrency == many:
            flag += f" or --concurrency {most}"
        cures.insert(0, f"at most {most}: {flag}")
    else:
        cures.append("take fewer images: --set per_class=n")
    raise ConfigError(
        f"{heavy.chain}: {each} for what {' and '.join(rows.methods)} hold"
        f"{'s' * (len(rows.methods) == 1)} of N = {rows.size:,} training images and "
        f"K = {rows.classes:,} classes, with copies to save, and {there} ({'; or '.join(cures)})"
    )
