"""From a plan to the study that follows it, new or read back from its folder."""

from collections.abc import Callable, Mapping
from typing import Any

from trainables.errors import ConfigError
from trainables.select import MODES
from tuning import entries
from tuning.allocate import dealer_of
from tuning.holes import unfit
from tuning.manifest import read
from tuning.places import Place
from tuning.priors import Earlier
from tuning.schedulers import SCHEDULERS
from tuning.space import Plan
from tuning.store import Store
from tuning.study import Entry, Lane, Study


def make_study(plan: Plan, write: Callable[[Entry, bool], None]) -> Study:
    """The study of a plan: its dealer, and a scheduler for each chain.

    Args:
        write: takes each new entry and whether it must be on disk before this returns.
    """
    settings = plan.study
    mode = MODES[settings["metric"]]
    epochs = plan.example.task.epochs
    lanes = [
        Lane(
            chain=chain.chain,
            rule=SCHEDULERS[settings["scheduler"]](
                epochs,
                mode=mode,
                grace=settings["grace"],
                factor=settings["factor"],
                interval=settings["interval"],
            ),
            config=chain.config,
            holes=chain.holes,
            seed=plan.seed,
        )
        for chain in plan.chains
    ]
    return Study(
        lanes,
        dealer=dealer_of(plan),
        epochs=epochs,
        mode=mode,
        select=settings["select"],
        write=write,
    )


def entries_of(plan: Plan, folder: Place) -> list[Entry]:
    """The journal of a study that has this plan, each entry checked.

    Raises:
        ConfigError: what is wrong with a line, by file and line, and the cure.
    """
    chains = [chain.chain for chain in plan.chains]
    turns = plan.study["scheduler"] == "pbt"
    return list(entries.read(folder / "journal", chains, turns=turns, config=config_of(plan)))


def config_of(plan: Plan) -> entries.Making:
    """What makes the config of a chain's values; ConfigError where they fit none of its holes."""
    chains = {chain.chain: chain for chain in plan.chains}

    def made(chain: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if problem := unfit(chains[chain].holes, params):
            raise ConfigError(problem)
        return chains[chain].config(params)

    return made


def earlier(folder: Place) -> Earlier:
    """A study as its folder tells it; nothing in the folder changes.

    Raises:
        ConfigError: no study, or one that cannot be read.
    """
    store = Store.open(folder)
    manifest = read(store)
    plan = Plan.from_plain(manifest["plan"])
    study = make_study(plan, _unwritten)
    study.replay(entries_of(plan, folder))
    records = [*study.records.values()]
    return Earlier(str(folder), manifest["noise"]["hash"], study.ranking(), records)


def _unwritten(entry: Entry, flush: bool) -> None:
    """What reading back finds out is for nobody's journal."""
