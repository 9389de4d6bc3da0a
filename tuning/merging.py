"""Which space files a chain is made of, and what they say together."""

from collections.abc import Sequence

from trainables.errors import ConfigError
from trainables.methods.chain import name_of
from tuning.inputs import SpaceFile, read_space, shipped_space
from tuning.leaves import Leaf, Leaves, Open, Place, dotted, overlap, put


def files_of(chain: tuple[str, ...], files: Sequence[SpaceFile]) -> list[SpaceFile]:
    """The given files that fit a chain, and the shipped ones of the methods they leave out."""
    mine = [file for file in files if set(file.methods) <= set(chain)]
    covered = {name for file in mine for name in file.methods}
    missing = [name for name in chain if name not in covered]
    if not chain and not mine:
        missing = [name_of(chain)]
    paths = [shipped_space(name) for name in missing]
    return mine + [read_space(path) for path in paths if path.is_file()]


def joined_leaves(files: Sequence[SpaceFile], settled: Sequence[Place]) -> Leaves:
    """The leaves of several files; where two differ, only a later setting can decide."""
    joined: Leaves = {}
    for file in files:
        for place, leaf in file.leaves.items():
            for other, old in joined.items():
                agree = other == place and _written(old) == _written(leaf)
                if agree or not overlap(other, place):
                    continue
                if not any(at == place[: len(at)] for at in settled):
                    raise ConfigError(
                        f"{old.source} and {file.source}: {dotted(other)} is {old.value} in one, "
                        f"{dotted(place)} is {leaf.value} in the other "
                        f"(settle it with --set {dotted(place)}=...)"
                    )
        put(joined, file.leaves)
    return joined


def _written(leaf: Leaf) -> object:
    return leaf.value.written if isinstance(leaf.value, Open) else leaf.value
