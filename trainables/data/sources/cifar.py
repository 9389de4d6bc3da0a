"""CIFAR-10 and CIFAR-100: 60,000 colour images, 32 x 32, in Toronto's Python pickles.

A pickle is a program; these are run only after their md5 showed them to be the published ones.
"""

import pickle
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainables.data.sources.base import Source
from trainables.data.sources.originals import Originals
from trainables.data.strong import Strong
from trainables.data.views import View

CIFAR10 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
CIFAR100 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
VIEW = View(pixels=4, flip=True)
# the hole is as in SOP's code, which makes it 0 after its normalisation: the mean colour
STRONG = Strong(VIEW, policy=True, cutout=16, hole=(125, 123, 114))
STRONG100 = replace(STRONG, hole=(129, 124, 112))
ADDRESS = "https://www.cs.toronto.edu/~kriz"


def cifar10() -> Source:
    """50,000 and 10,000 images of ten classes.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    read = cifar10_files().reader()
    *train, test, meta = CIFAR10
    names = pickle.loads(read(meta), encoding="latin1")["label_names"]
    return _source(map(read, train), read(test), "labels", names, STRONG)


def cifar100() -> Source:
    """50,000 and 10,000 images of a hundred classes, those that the authors call fine.

    Source: as for `cifar10`.
    """
    read = cifar100_files().reader()
    train, test, meta = CIFAR100
    names = pickle.loads(read(meta), encoding="latin1")["fine_label_names"]
    return _source([read(train)], read(test), "fine_labels", names, STRONG100)


def cifar10_files() -> Originals:
    """What CIFAR-10 consists of."""
    return Originals(
        name="cifar10",
        folder="cifar-10-batches-py",
        checksums=CIFAR10,
        published="CIFAR10",
        cure=f"curl -L {ADDRESS}/cifar-10-python.tar.gz | tar xz -C {{root}}",
    )


def cifar100_files() -> Originals:
    """What CIFAR-100 consists of."""
    return Originals(
        name="cifar100",
        folder="cifar-100-python",
        checksums=CIFAR100,
        published="CIFAR100",
        cure=f"curl -L {ADDRESS}/cifar-100-python.tar.gz | tar xz -C {{root}}",
    )


def _source(
    train: Iterable[bytes], test: bytes, key: str, names: list[str], strong: Strong
) -> Source:
    images, labels = batches(train, key)
    test_images, test_labels = batches([test], key)
    return Source(
        images=images,
        labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=tuple(names),
        view=VIEW,
        strong=strong,
    )


def batches(
    files: Iterable[bytes], key: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(N, 3, 32, 32) images and (N,) labels of pickled batches, in their order.

    Args:
        files: contents that are known to be the original ones; loading a pickle runs it.
        key: under which a batch holds its labels.
    """
    images, labels = [], []
    for file in files:
        batch = pickle.loads(file, encoding="latin1")
        images.append(batch["data"])
        labels.append(np.array(batch[key], np.int64))
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels)
