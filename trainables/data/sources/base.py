"""What reading a data set yields."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainables.data.strong import UNCHANGED, Strong
from trainables.data.views import View


@dataclass(frozen=True)
class Source:
    """A data set, as it is read once; from then on the cache serves it.

    Attributes:
        images: (M, C, H, W) uint8, the training source.
        labels: (M,) int64.
        test_images: (T, C, H, W) uint8.
        test_labels: (T,) int64; the cache seals them, nothing else may look.
        classes: K names.
        view: how a training image may be moved.
        strong: how it may be changed strongly.
        validation: positions that the data set itself sets aside for validation, if it does.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    view: View
    strong: Strong = UNCHANGED
    validation: npt.NDArray[np.int64] | None = None
