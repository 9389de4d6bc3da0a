"""ciFAIR-10: CIFAR-10 whose repeated test images are replaced, and GEM's small parts of it.

The release is read as its authors' loader reads it: CIFAR-10's files, but for `test_batch`, whose
md5 is the one that their loader compares. It was tried on generated miniatures only, not on the
real `test_batch`.

Source: B. Barz, J. Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", Journal
of Imaging 6(6), 2020. Parts: L. Brigato et al., "Image Classification with Small Datasets: Overview
and Benchmark", IEEE Access, 2022.
"""

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.data.sources.base import Source
from trainables.data.sources.cifar import CIFAR10, STRONG, batches
from trainables.data.sources.originals import Originals
from trainables.data.sources.roots import roots
from trainables.data.views import View
from trainables.errors import ConfigError

URL = "https://github.com/cvjena/cifair/releases/download/v1.0/ciFAIR-10.zip"
CHECKSUMS = {**CIFAR10, "test_batch": "01290e6b622a1977a000eff13650aca2"}
VIEW = View(pixels=4, flip=True, reflect=True)
TRAINED, PART = 30, 50  # images of each class in a part of GEM's: for training, and in all
DUPLICATES = "duplicates_cifar10.csv"


def cifair10() -> Source:
    """50,000 training images, those of CIFAR-10 in their order, and 10,000 test images."""
    read = cifair10_files().reader()
    *train, test, meta = CHECKSUMS
    images, labels = batches(map(read, train), "labels")
    test_images, test_labels = batches([read(test)], "labels")
    names = pickle.loads(read(meta), encoding="latin1")["label_names"]
    strong = replace(STRONG, view=VIEW)
    return Source(images, labels, test_images, test_labels, tuple(names), VIEW, strong)


def cifair10_files() -> Originals:
    """What ciFAIR-10 consists of."""
    return Originals(
        name="cifair10",
        folder="ciFAIR-10",
        checksums=CHECKSUMS,
        published=None,
        cure=f"curl -LO {URL} && unzip ciFAIR-10.zip -d {{root}} (CIFAR-10's own files will not "
        "do: the replaced images are in ciFAIR's test_batch only)",
    )


def gem(number: int) -> Source:
    """A part of GEM's, of 50 training images a class, of which it sets 20 aside for validation.

    Part k is images 50 k to 50 k + 49 of each class, in CIFAR-10's order, the last 20 of them for
    validation. That is the rule of GEM's own loader; it was compared with their lists of indices.
    Within the part, images stand in CIFAR-10's order.
    """
    whole = cifair10()
    rows = np.stack([np.flatnonzero(whole.labels == c) for c in range(len(whole.classes))])
    members = rows[:, PART * number : PART * (number + 1)]
    part = np.sort(members, axis=None)
    return replace(
        whole,
        images=whole.images[part],
        labels=whole.labels[part],
        validation=np.flatnonzero(np.isin(part, members[:, TRAINED:])),
    )


def duplicates() -> npt.NDArray[np.int64]:
    """Ascending rows of CIFAR-10's test images that repeat a training image, by ciFAIR's list.

    Raises:
        ConfigError: the list is in no data root, or is another file.
    """
    places = [root / folder for root in roots() for folder in ("", "cifair", "ciFAIR-10", "meta")]
    path = next((place / DUPLICATES for place in places if (place / DUPLICATES).is_file()), None)
    if path is None:
        raise ConfigError(
            f"{DUPLICATES}: is not in {', '.join(map(str, places))} (put the one from the folder "
            "meta of https://github.com/cvjena/cifair into one of these)"
        )
    return repeated(path)


def repeated(path: Path) -> npt.NDArray[np.int64]:
    """The ascending test rows that a list of pairs names, each once."""
    try:
        with path.open(newline="") as file:
            found = {int(pair["TestID"]) for pair in csv.DictReader(file)}
        if not found:
            raise ValueError("no pair")
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise ConfigError(
            f"{path}: holds no whole number in the column TestID of each line (take the one from "
            "the folder meta of https://github.com/cvjena/cifair)"
        ) from error
    return np.array(sorted(found), dtype=np.int64)
