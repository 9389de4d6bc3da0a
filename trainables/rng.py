"""Seeds as pure functions of names: no generator is ever carried along or saved."""

from hashlib import blake2b

import torch


def seed_of(*parts: object) -> int:
    """Mix the parts into one seed, the same on every machine and in every process.

    Returns:
        An integer in [0, 2**63), fit for `torch.Generator.manual_seed` and for numpy.

    >>> seed_of(0, 17, "view") == seed_of(0, 17, "view"), seed_of(0, 17) == seed_of(0, 18)
    (True, False)
    """
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1


class Streams:
    """The generators of one trial: each a function of (seed, step, name)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: dict[tuple[str, str], tuple[int, torch.Generator]] = {}

    def at(self, step: int, name: str, device: str) -> torch.Generator:
        """The generator of a consumer at a step: the same one until the step changes."""
        key = (name, device)
        seeded, generator = self._made.get(key) or (-1, torch.Generator(device))
        if seeded != step:
            generator.manual_seed(seed_of(self._seed, step, name))
            self._made[key] = (step, generator)
        return generator

    def clear(self) -> None:
        """Forget what has been drawn; the next ask begins its step again."""
        self._made.clear()


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that layers such as dropout draw from on a device."""
    if device.type == "cpu":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
