"""MNIST and Fashion-MNIST: 70,000 grey images, 28 x 28, in the four idx files of LeCun's format."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.data.sources.base import Source
from trainables.data.sources.originals import Originals
from trainables.data.strong import Strong
from trainables.data.views import View

# md5 of the unpacked files: packers differ, Debian's .gz are not the authors'
MNIST = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MNIST = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
VIEW = View(pixels=2)
# ours: a digit is 20 pixels high, and CIFAR's hole of half the side would often leave too little of
# it to tell; it is black, as the ground is
STRONG = Strong(VIEW, degrees=15, cutout=8)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of its package dataset-fashion-mnist


def mnist() -> Source:
    """60,000 and 10,000 handwritten digits.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", 1998.
    """
    return _source(mnist_files(), tuple(str(digit) for digit in range(10)))


def mnist_files() -> Originals:
    """What MNIST consists of."""
    return Originals(
        name="mnist",
        folder="MNIST/raw",
        checksums=MNIST,
        published="MNIST",
        cure="put the four *-ubyte.gz of https://ossci-datasets.s3.amazonaws.com/mnist/ into "
        "{root}/MNIST/raw",
    )


def fashion_mnist() -> Source:
    """60,000 and 10,000 pieces of clothing.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017.
    """
    return _source(fashion_mnist_files(), CLOTHES)


def fashion_mnist_files() -> Originals:
    """What Fashion-MNIST consists of."""
    return Originals(
        name="fashion-mnist",
        folder="FashionMNIST/raw",
        checksums=FASHION_MNIST,
        published="FashionMNIST",
        cure="apt install dataset-fashion-mnist, or put the four *-ubyte.gz of "
        "https://github.com/zalandoresearch/fashion-mnist into {root}/FashionMNIST/raw",
        elsewhere=(DEBIAN,),
    )


def _source(files: Originals, classes: tuple[str, ...]) -> Source:
    images, labels, test_images, test_labels = map(idx, map(files.reader(), files.checksums))
    return Source(
        images=images[:, None],
        labels=labels.astype(np.int64),
        test_images=test_images[:, None],
        test_labels=test_labels.astype(np.int64),
        classes=classes,
        view=VIEW,
        strong=STRONG,
    )


def idx(data: bytes) -> npt.NDArray[np.uint8]:
    """The array of bytes in an idx file: a type, the number of axes, their sizes, the values.

    >>> idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]
    """
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape.tolist())
