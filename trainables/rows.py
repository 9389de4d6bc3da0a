"""What a trial's methods hold for each training example, before anything is allocated."""

from dataclasses import dataclass

from trainables.config import Config
from trainables.data.dataset import Dataset


@dataclass(frozen=True)
class Rows:
    """The row memories of a trial.

    Attributes:
        size: N, training examples.
        classes: K.
        methods: names of those that hold any.
        held: bytes of them all.
        kept: bytes of what a reset takes back.
    """

    size: int
    classes: int
    methods: tuple[str, ...]
    held: int
    kept: int

    @property
    def file(self) -> int:
        """Bytes of a checkpoint, made in the memory of the trial's machine."""
        return self.held + self.kept

    def peak(self, gpu: bool) -> int:
        """Bytes on the trial's device while it is saved; a checkpoint is made of a copy.

        >>> rows = Rows(50_000, 10, ("sop",), held=2_200_000, kept=0)
        >>> rows.peak(gpu=True), rows.peak(gpu=False)
        (4400000, 6600000)
        """
        return 2 * self.held + self.kept + (0 if gpu else self.file)


def rows_of(config: Config, data: Dataset) -> Rows:
    """The row memories of a trial on these data."""
    size, classes = len(data.train), len(data.classes)
    methods = config.make_methods()
    held = {name: method.memory(size, classes) for name, method in methods.items()}
    follow = sum(held[name] for name, method in methods.items() if method.follows_model)
    return Rows(
        size=size,
        classes=classes,
        methods=tuple(name for name, size in held.items() if size),
        held=sum(held.values()),
        kept=follow if "reset" in methods else 0,
    )
