"""The command line of `python -m tuning.search`."""

import argparse
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from trainables.data.noise import NOISES
from trainables.data.sources import SOURCES
from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.models import MODELS
from tuning.flags import DATA_ROOT, Parser
from tuning.inputs import SHIPPED

STUDY_FLAGS = {
    "trials": ("N", "trials in all; equal: rounded up to a multiple of the chains"),
    "searcher": (
        "NAME",
        "tpe | random | sobol | grid | gp (up to 300 trials) | cmaes (numbers only)",
    ),
    "scheduler": ("NAME", "asha | fifo | median | pbt (a population for each chain)"),
    "grace": ("SHARE", "share of the epochs before anything is stopped"),
    "factor": ("N", "asha: one of N trials goes on at each rung"),
    "interval": ("SHARE", "pbt: share of the epochs between two exchanges of weights (0.1)"),
    "select": ("RULE", "which epoch counts: last | best | mean3 (best of three in a row)"),
    "metric": ("NAME", "what is selected on, of the noisy validation split: val/acc | val/loss"),
    "allocate": (
        "HOW",
        "equal: every chain gets the same number of trials; adaptive: each chain's start points, "
        "then one searcher chooses chain and values together",
    ),
    "keep": ("N", "how many of the best trials keep their weights"),
    "grid_points": ("N", "grid: values of each number, both ends among them (5)"),
    "second": ("WHAT", "made small, too: none | epochs | seconds that a trial took to its score"),
}
_RULE = "trials before and after would not be stopped by one rule"
_DRAWN = "what it tries depends on it from the first trial on"
# Flags that a study keeps, and why.
KEPT = {
    "task": "scores of two tasks cannot be compared",
    "seed": _DRAWN,
    "storage": "the study stays in its folder",
    "name": "the study stays in its folder",
    "searcher": _DRAWN,
    "grid_points": _DRAWN,
    "allocate": _DRAWN,
    "second": _DRAWN,
    "warm_start": _DRAWN,
    "scheduler": _RULE,
    "grace": _RULE,
    "factor": _RULE,
    "interval": _RULE,
    "select": "scores so far were chosen by another rule",
    "metric": "scores so far are of another kind",
    "keep": "weights of the others are gone",
}
ABOUT = """\
Search the hyperparameters of label-noise methods with Ray Tune: fill the holes of a
search space, stop the losers early, select on noisy validation labels, never read a
test label. Everything goes into the folder <storage>/<name>."""
TASKS = sorted(path.stem for path in (SHIPPED / "tasks").glob("*.yaml"))


def _listed(head: str, names: Iterable[str]) -> str:
    """Names behind a heading, folded under it."""
    text = f"{head:<9}{', '.join(names)}"
    return textwrap.fill(text, 80, subsequent_indent=" " * 9, break_on_hyphens=False)


EXAMPLES = f"""\
{_listed("methods", ["ce (plain cross-entropy)", *METHODS])}
         joined with + into one chain
{_listed("tasks", TASKS)}
names for --set:
{_listed("data", SOURCES)}
{_listed("model", MODELS)}
{_listed("noise", NOISES)} (as noise.kind)

examples:
  python -m tuning.search --method mr                       search MR on digits, 40 % wrong labels
  python -m tuning.search --method mr --dry-run             what that would do, and how long
  python -m tuning.search --method ce,mr,mr+mixup+reset     which method? equal trials for each
  python -m tuning.search --method ce,mr,mixup --allocate adaptive     more for the promising
  python -m tuning.search --method mr --set noise.rate=0.6 --set methods.mr.period=1
  python -m tuning.search --method ce,mr --task cifar10 --set per_class=100 --set epochs=3
  python -m tuning.search --resume results/mr-digits-...    go on after a crash or Ctrl-C
  tensorboard --logdir results                              curves and HPARAMS of all studies

with --resume:
  --trials N, --time T      more of both, also of a finished study
  --method NEW              a method more; every chain gets as many trials as the others have
  --set 'optim.lr={{log: [1e-4, 1]}}'     a wider range
  --retry-failed            failed trials once more, from their beginning
what would make scores incomparable is refused

exit codes: 0 done; 1 no trial finished, or disk or Ray failed; 2 a wrong command, file or
            value; 130 interrupted
"""


def parser() -> Parser:
    """The parser; values of study flags are checked with the study, not here."""
    made = Parser(
        prog="python -m tuning.search",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = made.add_argument_group("what to search")
    what.add_argument("--method", metavar="CHAIN", help="such as mr+mixup; several with commas")
    what.add_argument("--task", metavar="NAME", help="a task, or the path of its YAML (digits)")
    what.add_argument(
        "--space",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="search spaces to use in place of the shipped ones",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set any field, or a hole: --set 'optim.lr={log: [0.01, 0.1]}'; the last one wins",
    )
    what.add_argument(
        "--warm-start",
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="learn from earlier studies: of the same task their trials are known from the "
        "beginning; of another noise their best settings are tried first",
    )
    what.add_argument("--seed", metavar="N", help="of the search and of its trials (0)")
    how = made.add_argument_group("how to search (defaults: the task's)")
    for name, (meta, text) in STUDY_FLAGS.items():
        how.add_argument(f"--{name.replace('_', '-')}", metavar=meta, help=text)
    how.add_argument(
        "--time",
        metavar="T",
        help="stop after this long, from the first report on: 90 (seconds), 10m, 2h",
    )
    where = made.add_argument_group("where to run")
    where.add_argument("--concurrency", metavar="N", help="trials at a time (as many as fit)")
    where.add_argument("--cpus", metavar="X", help="CPU cores of a trial (1, the fastest)")
    where.add_argument("--gpus", metavar="X", help="GPUs of a trial, or a fraction (1 if there is)")
    where.add_argument(
        "--max-failures",
        metavar="N",
        help="how often a trial that failed goes on from its last checkpoint (2); for want of "
        "memory, once",
    )
    where.add_argument("--address", metavar="HOST:PORT", help="a running Ray cluster, or auto")
    where.add_argument("--data-root", metavar="FOLDER", help=f"{DATA_ROOT} (this machine's)")
    where.add_argument("--storage", metavar="FOLDER", help="where studies go (results)")
    where.add_argument("--name", metavar="NAME", help="of the study (<method>-<task>-<time>)")
    where.add_argument("--resume", metavar="FOLDER", help="go on with a study (see below)")
    where.add_argument(
        "--retry-failed", action="store_true", help="with --resume: try failed trials once more"
    )
    made.add_argument("--dry-run", action="store_true", help="print the plan (reads the data)")
    made.add_argument("--json", action="store_true", help="make the last line machine-readable")
    return made


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse and check what does not need the study.

    Raises:
        ConfigError: one line that names flag, value and cure.
    """
    args = parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv  # for the manifest
    args.time = None if args.time is None else seconds(args.time)
    args.concurrency = number("--concurrency", args.concurrency, int, 1)
    args.cpus = number("--cpus", args.cpus, float, 0.01)
    args.max_failures = number("--max-failures", args.max_failures, int, 0)
    args.gpus = number("--gpus", args.gpus, float, 0.0)
    if args.resume is None:
        if args.method is None:
            raise ConfigError("--method is missing: name a chain, for example --method mr")
        seed = number("--seed", args.seed, int, 0)
        args.seed = 0 if seed is None else seed
        if args.retry_failed:
            raise ConfigError("--retry-failed is for a study that is there: add --resume FOLDER")
        return args
    args.trials = number("--trials", args.trials, int, 1)
    for name, why in KEPT.items():
        if getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} cannot be changed with --resume: {why} (leave it out)")
    return args


def number(flag: str, text: str | None, kind: type[Any], low: float) -> Any:
    """The value of a numeric flag; None when it is not given."""
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{flag} {text}: must be {what}") from None
    if not low <= value < float("inf"):
        raise ConfigError(f"{flag} {text}: must be at least {low}")
    return value


def seconds(text: str) -> float:
    """A duration in seconds.

    >>> seconds("90"), seconds("1.5h")
    (90.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None or not float(found[1]):
        raise ConfigError(f"--time {text}: must be a duration such as 90, 10m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def where(args: argparse.Namespace) -> str:
    """The flags that say where and how wide this life ran; a resume must repeat them."""
    flags = ("address", "data-root", "cpus", "gpus", "concurrency", "max-failures")
    given = [(flag, getattr(args, flag.replace("-", "_"))) for flag in flags]
    return "".join(f" --{f} {shlex.quote(str(value))}" for f, value in given if value is not None)
