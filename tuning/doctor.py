"""`python -m tuning.doctor`: would a search run here? A line for each thing looked at.

Nothing but the standard library is imported before a check asks for it, so that the doctor can tell
of a broken installation.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from trainables.errors import ConfigError
from tuning import checks, datasets, fit, folders, reach
from tuning.findings import Check, Finding, found, tell
from tuning.flags import DATA_ROOT, Parser, use_data_root

FINE, ILL, WRONG, INTERRUPTED = 0, 1, 2, 130
ABOUT = """\
Look for what would keep a search from running here, or spoil it: versions, devices,
memory, folders, clock, data sets, Ray and its ports. Nothing is changed; whatever is
written is removed. Each line is ok, warn or FAIL, the last two with a cure."""
EXAMPLES = """\
examples:
  python -m tuning.doctor                                   this machine
  python -m tuning.doctor --ray                             start Ray and run a task, too
  python -m tuning.doctor --method mr --task cifar10        is there room for that study?
  python -m tuning.doctor --address auto --storage /shared/studies      a cluster's nodes
  python -m tuning.doctor --storage s3://bucket/studies     an object store
  python -m tuning.doctor --cluster cluster.yaml            a file, before ray up reads it

exit codes: 0 nothing FAILs; 1 something does; 2 a wrong command; 130 interrupted
"""


def parser() -> Parser:
    made = Parser(
        prog="python -m tuning.doctor",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--data-root", metavar="FOLDER", help=DATA_ROOT)
    made.add_argument(
        "--storage", metavar="FOLDER", default="results", help="where studies go (results)"
    )
    made.add_argument("--ray", action="store_true", help="start Ray, too (10 s)")
    made.add_argument("--address", metavar="HOST:PORT", help="ask a running Ray cluster, or auto")
    made.add_argument("--cluster", metavar="FILE", help="read a file for ray up")
    made.add_argument("--json", action="store_true", help="print findings as one line of JSON")
    plan = made.add_argument_group("a study to make room for (flags as in tuning.search)")
    plan.add_argument("--method", metavar="CHAIN", help="reads and caches its data set")
    plan.add_argument("--task", metavar="NAME", default="digits", help="a task (digits)")
    plan.add_argument("--space", nargs="+", action="extend", default=[], metavar="FILE")
    plan.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    for flag in ("--trials", "--keep", "--concurrency"):
        plan.add_argument(flag, metavar="N", type=count)
    return made


def count(text: str) -> int:
    """A whole number, not below 0; argparse tells the flag of one that is not."""
    if int(text) < 0:
        raise ValueError
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    try:
        args = parser().parse_args(argv)
        use_data_root(args.data_root)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    findings: list[Finding] = []
    try:
        for finding in examine(args):
            findings.append(finding)
            if not args.json:
                tell(finding)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    count = {status: sum(x.status == status for x in findings) for status in ("FAIL", "warn")}
    if args.json:
        print(json.dumps({"FAIL": count["FAIL"], "findings": [asdict(x) for x in findings]}))
    elif count["FAIL"]:
        print(f"{count['FAIL']} of {len(findings)} would keep a search from running")
    else:
        warnings = f"; {count['warn']} may spoil it" if count["warn"] else ""
        print(f"nothing would keep a search from running{warnings}")
    return ILL if count["FAIL"] else FINE


def examine(args: argparse.Namespace) -> Iterator[Finding]:
    """All checks, one after the other; none can end another."""
    for name, check in all_checks(args).items():
        yield from found(name, check)


def all_checks(args: argparse.Namespace) -> dict[str, Check]:
    """Every check, under the name that stands there should it break."""
    made: dict[str, Check] = {
        "Python": checks.python,
        "packages": checks.packages,
        "torchvision": checks.torchvision,
        "CUDA": checks.cuda,
        "CPU": checks.processor,
        "memory": checks.memory,
        "storage": lambda: folders.storage(args.storage),
        "home": folders.home_folder,
        "data root": datasets.data_roots,
        "cache": datasets.cache,
        "leftovers": datasets.leftovers,
        "ports": reach.ports,
        "Ray": checks.ray,
    }
    if args.ray:
        made["Ray start"] = checks.ray_start
    if args.method is not None:
        made["plan"] = lambda: fit.plan(args)
    if args.cluster is not None:
        made["cluster file"] = lambda: clusterfile(args.cluster)
    if args.address is not None:
        made["cluster"] = lambda: reach.cluster(args.address)
    return made


def clusterfile(path: str) -> Iterable[Finding]:
    from tuning.clusterfile import examine  # which needs a working Ray and YAML

    return examine(path)


if __name__ == "__main__":
    sys.exit(main())
