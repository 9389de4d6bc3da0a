"""Where images come from. A source is read once; from then on the cache serves it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainables.data.split import stratified


@dataclass(frozen=True)
class Source:
    """What reading a data set yields.

    Attributes:
        images: (M, C, H, W) uint8, the training source.
        labels: (M,) int64.
        test_images: (T, C, H, W) uint8.
        test_labels: (T,) int64; the cache seals them, nothing else may look.
        classes: K names.
        shift: pixels by which a training view may move the image, each way.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    shift: int


def digits() -> Source:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey; 359 of them are the test part.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its
    test part, as scikit-learn ships it; no download). Grey levels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits  # a second to import, needed once per machine

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = raw.target.astype(np.int64)
    train, test = stratified(labels, 0.2, seed=0, name="digits-test")
    return Source(
        images=images[train],
        labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in range(10)),
        shift=1,
    )


SOURCES: dict[str, Callable[[], Source]] = {"digits": digits}
