"""What the lines of a journal must hold, so that a damaged or foreign one is told, not believed.

A journal may come from a stranger: names in it become parts of paths, numbers go into tables and
schedulers. So each entry is checked against those before it, by field and type, before a study is
made of any. Fields that are not listed here may stand there, too: a later version may add some.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from math import isfinite
from typing import Any

from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.methods.chain import PLAIN, name_of, parse
from tuning.journal import Entry, located
from tuning.places import Place

DAMAGED, NEWER = "(restore it from a copy)", "(use the noisetune that wrote it)"
LONGEST = 200  # characters of a chain's name
GREATEST = 2**63 - 1  # what a table's column holds
NUMBER, FLAG, SCALAR = (int, float), (int, bool), (int, float, bool, str, type(None))
DECISIONS, STATUSES = ("CONTINUE", "PAUSE", "STOP"), ("done", "stopped", "failed")
# What is read of each kind of entry.
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "life": {"life": (int,), "time": NUMBER},
    "suggest": {
        **dict.fromkeys(("trial", "chain"), (str,)),
        "n": (int,),
        **dict.fromkeys(("params", "config"), (dict,)),
    },
    "report": {
        "trial": (str,),
        **dict.fromkeys(("report", "step"), (int,)),
        **dict.fromkeys(("epoch", "score", "last", "seconds"), NUMBER),
        **dict.fromkeys(("scored", "kept", "diverged", "done"), FLAG),
        "decision": (str,),
    },
    "end": {"trial": (str,), "status": (str,), "error": (str, type(None))},
    "retry": {"trial": (str,)},
    "turn": {"chain": (str,), "generation": (int,), "epoch": NUMBER, "takes": (list,)},
}
TAKE: dict[str, tuple[type, ...]] = {"trial": (str,), "donor": (str,)}
TAKE |= {"params": (dict,), "config": (dict,)}
Making = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]  # of a chain and its params
RESETS = "reset/count"  # the one metric that a table holds as a whole number
WORDS = ("kind", "trial", "decision")  # in a report; all else there is a number


def read(
    folder: Place,
    chains: Collection[str] | None = None,
    *,
    turns: bool = True,
    config: Making | None = None,
) -> Iterator[Entry]:
    """All entries of a journal, in order, each checked; arguments as for `Checker`.

    Raises:
        ConfigError: what is wrong with a line, by file and line, and the cure.
    """
    checker = Checker(chains, turns=turns, config=config)
    for where, entry in located(folder):
        problem = checker.check(entry)
        if problem is not None:
            raise ConfigError(f"{where}: {problem}")
        yield entry


class Checker:
    """Looks at the entries of one journal, in order.

    Args:
        chains: of the study; None for any that METHODS can make.
        turns: whether the study has populations, whose generations turn.
        config: makes a chain's config of values for its holes, as the study's plan does, and
            refuses (ConfigError) values that are none of them; without it, any config will do.
    """

    def __init__(
        self,
        chains: Collection[str] | None = None,
        *,
        turns: bool = True,
        config: Making | None = None,
    ) -> None:
        self.allowed, self.turns, self.config = chains, turns, config
        self.chains: dict[str, str | None] = {}  # what is wrong with each name seen
        self.trials: dict[str, str] = {}  # their chains
        self.counts: Counter[str] = Counter()  # trials of each chain
        self.generations: Counter[str] = Counter()
        self.reported: set[str] = set()
        self.ended: dict[str, str] = {}  # how
        self.kinds: dict[str, Callable[[Entry], str | None]] = {
            "life": self._life,
            "suggest": self._suggest,
            "report": self._report,
            "end": self._end,
            "retry": self._retry,
            "turn": self._turn,
        }

    def check(self, entry: Entry) -> str | None:
        """What is wrong with the next entry and the cure; None if nothing is."""
        kind = entry.get("kind")
        if not isinstance(kind, str):
            return f"is no entry of a journal: it has no kind {DAMAGED}"
        if kind not in FIELDS:
            return f"is an entry of a kind that this program lacks, {_quoted(kind)} {NEWER}"
        problem = _mistyped(entry, FIELDS[kind]) or self.kinds[kind](entry)
        return problem and f"{kind}: {problem}"

    def _life(self, entry: Entry) -> str | None:
        return _unbounded(entry)

    def _suggest(self, entry: Entry) -> str | None:
        chain, n = entry["chain"], entry["n"]
        if problem := self._chain(chain):
            return problem
        if n != self.counts[chain]:
            told = f"n = {n}, and {self.counts[chain]} trials of {chain} stand before it"
            return f"{told} {DAMAGED}"
        if entry["trial"] != f"{chain}-{n:04d}":
            return f"trial = {_quoted(entry['trial'])}, and it is {chain}-{n:04d} {DAMAGED}"
        if problem := self._settings(chain, entry):
            return problem
        self.counts[chain] += 1
        self.trials[entry["trial"]] = chain
        return None

    def _report(self, entry: Entry) -> str | None:
        name = entry["trial"]
        if name not in self.trials:
            return f"of {_quoted(name)}, which was never suggested {DAMAGED}"
        if name in self.ended:
            return f"of {name}, which has ended {DAMAGED}"
        if entry["decision"] not in DECISIONS:
            return f"decision = {_quoted(entry['decision'])} {NEWER}"
        if entry["report"] < 1 or entry["epoch"] < 0:
            return f"report = {entry['report']} at epoch {entry['epoch']} {DAMAGED}"
        for key, value in entry.items():
            kind = type(value)
            if kind is float:
                if not isfinite(value):
                    return f"{_quoted(key)} is no finite number {DAMAGED}"
                if key == RESETS and abs(value) > GREATEST:
                    return f"{_quoted(key)} has more than 64 bits {DAMAGED}"
            elif kind is int:
                if not -GREATEST <= value <= GREATEST:
                    return f"{_quoted(key)} has more than 64 bits {DAMAGED}"
            elif key not in WORDS and kind is not bool and value is not None:
                return f"{_quoted(key)} must be a number {DAMAGED}"
        self.reported.add(name)
        return None

    def _end(self, entry: Entry) -> str | None:
        if entry["trial"] not in self.trials:
            return f"of {_quoted(entry['trial'])}, which was never suggested {DAMAGED}"
        if entry["status"] not in STATUSES:
            return f"status = {_quoted(entry['status'])} {NEWER}"
        self.ended[entry["trial"]] = entry["status"]
        return None

    def _retry(self, entry: Entry) -> str | None:
        if self.ended.get(entry["trial"]) != "failed":
            return f"of {_quoted(entry['trial'])}, which has not failed {DAMAGED}"
        del self.ended[entry["trial"]]
        return None

    def _turn(self, entry: Entry) -> str | None:
        chain, generation = entry["chain"], entry["generation"]
        if not self.turns:
            return f"and the study has no populations {DAMAGED}"
        if problem := self._chain(chain):
            return problem
        if generation != self.generations[chain] + 1:
            told = f"generation = {generation} after {self.generations[chain]}"
            return f"{told} {DAMAGED}"
        going = {name for name, its in self.trials.items() if its == chain} - self.ended.keys()
        if going - self.reported:
            return f"before {min(going - self.reported)} has reported {DAMAGED}"
        for take in entry["takes"]:
            if not isinstance(take, dict):
                return f"takes must be mappings {DAMAGED}"
            if problem := _mistyped(take, TAKE):
                return f"takes: {problem}"
            for role in ("trial", "donor"):
                if take[role] not in going:
                    return f"takes: {role} = {_quoted(take[role])} does not stand there {DAMAGED}"
            if problem := self._settings(chain, take):
                return f"takes: {problem}"
        self.generations[chain] = generation
        return _unbounded(entry["epoch"])

    def _settings(self, chain: str, entry: Entry) -> str | None:
        """What is wrong with values and the config that was made of them."""
        params, config = entry["params"], entry["config"]
        if problem := unplain(params) or _unbounded(config):
            return problem
        if self.config is None:
            return None
        try:
            made = self.config(chain, params)
        except ConfigError as error:
            return f"params: {error} {DAMAGED}"
        if json.loads(json.dumps(made)) != config:
            return f"config is not what the manifest's plan makes of the params {DAMAGED}"
        return None

    def _chain(self, chain: str) -> str | None:
        if chain not in self.chains:
            self.chains[chain] = misnamed(chain)
        if problem := self.chains[chain]:
            return problem
        if self.allowed is not None and chain not in self.allowed:
            told = f"chain = {chain}, and the manifest has {', '.join(self.allowed)}"
            return f"{told} {DAMAGED}"
        return None


def misnamed(chain: str) -> str | None:
    """Why a text is not the name of a chain; None if it is."""
    shown = _quoted(chain)
    if len(chain) > LONGEST:
        return f"chain = {shown}: is too long a name {DAMAGED}"
    lacking = [name for name in chain.split("+") if name not in (PLAIN, *METHODS)]
    if lacking:
        return f"chain = {shown}: this program has no method {_quoted(lacking[0])} {NEWER}"
    try:
        right = name_of(parse(chain))
    except ConfigError as error:
        return f"chain = {shown}: {error}"
    return None if right == chain else f"chain = {shown}: its name is {right} {DAMAGED}"


def _mistyped(entry: Entry, fields: dict[str, tuple[type, ...]]) -> str | None:
    """Which field is missing or of a wrong type; true is no number."""
    for name, kinds in fields.items():
        if name not in entry:
            return f"{name} is missing {DAMAGED}"
        if type(entry[name]) not in kinds:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            return f"{name} = {_quoted(entry[name])}: must be {wanted} {DAMAGED}"
    return None


def unplain(params: dict[str, Any]) -> str | None:
    """Which value is none of a hyperparameter."""
    for name, value in params.items():
        if type(value) not in SCALAR:
            return f"{_quoted(name)} = {_quoted(value)}: is no value {DAMAGED}"
    return _unbounded(params)


def _unbounded(tree: Any) -> str | None:
    """Which number in nested values is not finite, or does not fit into 64 bits."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, float) and not isfinite(value):
            return f"{value} is no finite number {DAMAGED}"
        elif isinstance(value, int) and abs(value) > GREATEST:
            return f"a number has more than 64 bits {DAMAGED}"
    return None


def _quoted(value: object) -> str:
    """A value of a stranger's: in quotes, without control characters, not too long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
