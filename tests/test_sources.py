"""Sources: what reading a data set yields."""

import numpy as np
import pytest

from trainables.data.cache import open_data
from trainables.data.sources.digits import digits


def test_digits_are_those_of_scikit_learn() -> None:
    data, source = open_data("digits"), digits()
    assert data.images.shape == (1438, 1, 8, 8)
    assert data.test_images.shape == (359, 1, 8, 8)
    assert data.images.dtype == np.uint8
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.classes == tuple("0123456789")
    np.testing.assert_array_equal(data.labels, source.labels)
    for labels, size in ((source.labels, 1438), (source.test_labels, 359)):
        assert np.bincount(labels).sum() == size
        assert np.ptp(np.bincount(labels)) <= 10
    assert data.mean == pytest.approx([(source.images / 255).mean()])
    assert data.std == pytest.approx([(source.images / 255).std()])
