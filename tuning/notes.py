"""What a user should know of a plan's holes, searcher and dealer before its trials are dealt."""

from trainables.config import Config
from trainables.methods.chain import Chain
from tuning.allocate import Equal, dealer_of
from tuning.holes import walk
from tuning.settings import Settings
from tuning.space import ChainSpace, Plan

GP_TRIALS = 300  # from here on, a Gaussian process takes a second or more for each suggestion


def notes(plan: Plan) -> list[str]:
    """What a user should read before trials are dealt."""
    settings, dealer = Settings(**plan.study), dealer_of(plan)
    told = [line for chain in plan.chains for line in _idle(chain)]
    if isinstance(dealer, Equal) and settings.searcher == "grid":
        told += [_part(chain, dealer) for chain in dealer.shares]
    total = sum(dealer.shares.values()) + dealer.free
    most = max(dealer.shares.values()) if isinstance(dealer, Equal) else total
    if settings.searcher == "gp" and most > GP_TRIALS:
        told.append(
            f"searcher gp: {most:,} trials in one model; past {GP_TRIALS} each suggestion takes "
            "a second or more, and ever longer (--searcher tpe does not)"
        )
    if settings.allocate != "adaptive":
        return told
    if len(plan.chains) == 1:
        line = "allocate adaptive: there is one chain, which gets every trial, as with equal"
        return [*told, line]
    told.append(
        "allocate adaptive: chains get as many trials as the sampler chooses, which is no fair "
        "comparison of methods (--allocate equal is one)"
    )
    left = [chain for chain, share in dealer.shares.items() if not share]
    if left:
        told.append(
            f"trials = {settings.trials}: too few to try {', '.join(left)} (take more trials)"
        )
    elif not dealer.free:
        told.append(
            f"trials = {settings.trials}: all are given, the sampler chooses none (take more)"
        )
    return told


def _idle(chain: ChainSpace) -> list[str]:
    """Whether the optimizer's decay is searched where a method replaces it."""
    decayed = any(hole.column == "optim/decay" for hole in walk(chain.holes))
    methods = Config.parse(chain.config(chain.sample)).make_methods()
    if not decayed or not Chain(methods).owns_decay:
        return []
    return [
        f"{chain.chain}: optim.decay is open and does nothing there, as a method replaces it (fix "
        "it, or search this chain apart from those that use it)"
    ]


def _part(chain: str, dealer: Equal) -> str:
    """How much of a chain's grid is tried."""
    share, most = dealer.shares[chain], dealer.searchers[chain].most
    if share == most:
        return f"searcher grid: {chain}: all {share:,} points are tried, start points among them"
    return (
        f"searcher grid: {chain}: {share:,} of {most:,} points are tried, start points among them "
        "(raise --trials, or lower --grid-points)"
    )
