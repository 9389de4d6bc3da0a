"""scikit-learn's handwritten digits: the set that needs no download."""

import numpy as np

from trainables.data.sources.base import Source
from trainables.data.split import stratified
from trainables.data.strong import Strong
from trainables.data.views import View


def digits() -> Source:
    """1,797 handwritten digits, 8 x 8, grey; 359 of them are the test part.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its
    test part, as scikit-learn ships it; no download). Grey levels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits  # a second to import, needed once per machine

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = raw.target.astype(np.int64)
    train, test = stratified(labels, 0.2, seed=0, name="digits-test")
    view = View(pixels=1)
    return Source(
        images=images[train],
        labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=tuple(str(digit) for digit in range(10)),
        view=view,
        strong=Strong(view, degrees=10, cutout=2),  # ours, for 8 x 8 pixels
    )
