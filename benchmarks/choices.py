"""What the benchmarks of step times ask on their command lines."""

import argparse
import os
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def parser(about: str, turns: int, of: str = "case") -> argparse.ArgumentParser:
    """The flags that all of them have.

    Args:
        about: a module's docstring, whose first line is told.
        turns: measured by default.
        of: what is measured in turns.
    """
    made = argparse.ArgumentParser(description=about.split("\n")[0])
    made.add_argument("--cases", default="", help="only those whose name has this in it")
    made.add_argument("--turns", type=int, default=turns, help=f"measured turns of each {of}")
    made.add_argument("--random", action="store_true", help="random images for MNIST, CIFAR-10")
    made.add_argument("--data-root", help="the folder of the original files, NOISETUNE_DATA")
    made.add_argument("--json", action="store_true", help="make the last line machine-readable")
    return made


def arithmetic(made: argparse.ArgumentParser) -> None:
    """Add the flags of those that train in this process."""
    made.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    made.add_argument("--threads", type=int, default=1)


def parsed(
    made: argparse.ArgumentParser, cases: Mapping[str, T]
) -> tuple[argparse.Namespace, dict[str, T]]:
    """Parse the command line, set the data root, choose the cases; ends where there is none."""
    args = made.parse_args()
    if args.data_root:
        os.environ["NOISETUNE_DATA"] = args.data_root
    chosen = {name: case for name, case in cases.items() if args.cases in name}
    if not chosen:
        made.error(f"--cases {args.cases}: no case has this in its name ({', '.join(cases)})")
    return args, chosen


def told(args: argparse.Namespace) -> str:
    """How it is measured, in a few words."""
    images = ", random images" if args.random else ""
    return f"{args.precision}, threads: {args.threads}{images}"
