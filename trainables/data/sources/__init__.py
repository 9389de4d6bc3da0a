"""Where images come from, by the name a task calls them."""

from collections.abc import Callable
from functools import partial

from trainables.data.sources.animal10n import animals
from trainables.data.sources.base import Source
from trainables.data.sources.cifair import cifair10, cifair10_files, gem
from trainables.data.sources.cifar import cifar10, cifar10_files, cifar100, cifar100_files
from trainables.data.sources.clothing1m import clothes
from trainables.data.sources.digits import digits
from trainables.data.sources.idx import fashion_mnist, fashion_mnist_files, mnist, mnist_files
from trainables.data.sources.originals import Originals

SOURCES: dict[str, Callable[[], Source]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifair10": cifair10,
    "cifair10-gem0": partial(gem, 0),
    "cifair10-gem1": partial(gem, 1),
    "cifair10-gem2": partial(gem, 2),
    "animal-10n": animals,
    "clothing1m": clothes,
}

# what those of them consist of whose files' checksums are known
ORIGINALS: tuple[Callable[[], Originals], ...] = (
    mnist_files,
    fashion_mnist_files,
    cifar10_files,
    cifar100_files,
    cifair10_files,
)

NOISY = frozenset({"animal-10n", "clothing1m"})  # no clean labels exist: a task adds no noise
