"""`python -m tuning.doctor`: would a search run here? A line for each thing looked at.

Nothing but the standard library is imported before a check asks for it, so that the doctor can tell
of a broken installation.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from trainables.errors import ConfigError
from tuning import checks, datasets, folders
from tuning.findings import Check, Finding, found, tell
from tuning.flags import DATA_ROOT, Parser, use_data_root

FINE, ILL, WRONG, INTERRUPTED = 0, 1, 2, 130
ABOUT = """\
Look for what would keep a search from running here, or spoil it: versions, devices,
memory, folders, data sets, Ray. Nothing is changed; whatever is written is removed."""
CODES = """\
exit codes: 0 nothing FAILs; 1 something does; 2 a wrong command; 130 interrupted
"""


def parser() -> Parser:
    made = Parser(
        prog="python -m tuning.doctor",
        description=ABOUT,
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--data-root", metavar="FOLDER", help=DATA_ROOT)
    made.add_argument(
        "--storage", metavar="FOLDER", default="results", help="where studies go (results)"
    )
    made.add_argument("--ray", action="store_true", help="start Ray, too (10 s)")
    made.add_argument("--json", action="store_true", help="print findings as one line of JSON")
    return made


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
        "Ray": checks.ray,
    }
    return made | ({"Ray start": checks.ray_start} if args.ray else {})


if __name__ == "__main__":
    sys.exit(main())
