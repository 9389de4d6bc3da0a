"""Instance-dependent noise: exact sums, the law of q, and what the scale of the pixels does."""

import numpy as np
import pytest

from trainables.data.noise.base import Clean, drawn
from trainables.data.noise.instance import (
    GRAIN,
    Instance,
    Scaling,
    chances,
    channel_statistics,
    normal,
    probabilities,
    projected,
    scaling_of,
)

K = 5


def photographs(count: int = 3000) -> Clean:
    """Pictures that share most of their light, as photographs do, 3 x 6 x 6."""
    draws = np.random.Generator(np.random.Philox(key=1))
    images = np.floor(110 + 40 * draws.random((count, 3, 6, 6)))
    labels = np.arange(count) % K
    return Clean("toy", labels, K, images.astype(np.uint8), np.arange(count))


def largest_share(clean: Clean, given: np.ndarray) -> float:
    """Of a class's wrong labels, those of its most frequent wrong class; mean over classes."""
    wrong = given != clean.labels
    counts = np.zeros((K, K))
    np.add.at(counts, (clean.labels[wrong], given[wrong]), 1)
    return float((counts.max(1) / counts.sum(1)).mean())


@pytest.mark.parametrize("scale", ["raw255", "unit", "standardised"])
def test_the_same_by_hand(scale: str) -> None:
    """Row by row, with pixels scaled before the product, as the formula is written."""
    clean = photographs(60)
    draws = np.random.Generator(np.random.Philox(key=2))
    weights = normal(draws.random((K, 108, K)))
    q = draws.random(60)
    pixels = clean.images.astype(float)
    if scale == "unit":
        pixels = pixels / 255
    if scale == "standardised":
        axes = (0, 2, 3)
        pixels = (pixels - pixels.mean(axes, keepdims=True)) / pixels.std(axes, keepdims=True)
    rows = np.array([7, 3, 11, 58, 20])
    found = probabilities(
        clean.images,
        rows,
        clean.labels[rows],
        q[rows],
        weights.__getitem__,
        scaling_of(clean.images, scale),
    )
    for row, chance in zip(rows, found, strict=True):
        label = clean.labels[row]
        logits = pixels[row].ravel() @ weights[label]
        others = np.arange(K) != label
        expected = np.zeros(K)
        expected[others] = np.exp(logits[others] - logits[others].max())
        expected *= q[row] / expected.sum()
        expected[label] = 1 - q[row]
        np.testing.assert_allclose(chance, expected, rtol=1e-9, atol=1e-12)


def test_sums_are_exact_in_any_order() -> None:
    """Bit for bit those of integers, with pixels and numbers of inputs as large as they come."""
    inputs = 3 * 64 * 64
    draws = np.random.Generator(np.random.Philox(key=3))
    images = np.floor(256 * draws.random((4, 3, 64, 64))).astype(np.uint8)
    grains = np.rint(normal(draws.random((inputs, K))) * GRAIN)
    exact = images.reshape(4, -1).astype(np.int64) @ grains.astype(np.int64)
    one = Scaling(np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(projected(images, grains / GRAIN, one) * GRAIN, exact)
    largest = 255 * 3 * 224 * 224 * float(-normal(np.zeros(1))[0]) * GRAIN
    assert largest < 2**53


def test_normal_deviates() -> None:
    draws = normal(np.random.Generator(np.random.Philox(key=4)).random(100_000))
    assert abs(draws.mean()) < 4 / np.sqrt(100_000)
    assert abs(draws.var() - 1) < 4 * np.sqrt(2 / 100_000)
    assert np.isfinite(normal(np.array([0.0, 1 - 2.0**-53]))).all()


@pytest.mark.parametrize(
    ("rate", "mean"), [(0.1, 0.129), (0.2, 0.2055), (0.4, 0.4), (0.7, 0.6996), (0.8, 0.7945)]
)
def test_the_mean_chance_is_that_of_a_truncated_normal(rate: float, mean: float) -> None:
    q = chances(rate, (np.arange(100_000) + 0.5) / 100_000)
    assert q.mean() == pytest.approx(mean, abs=3e-4)
    assert 0 <= q.min() <= q.max() <= 1


def test_chances_grow_with_the_rate() -> None:
    uniforms = np.random.Generator(np.random.Philox(key=5)).random(1000)
    by_rate = np.stack([chances(rate, uniforms) for rate in (0.0, 0.05, 0.4, 0.95, 1.0)])
    assert (np.diff(by_rate, axis=0) > 0).all()


def test_a_channel_without_contrast_is_no_division_by_zero() -> None:
    images = np.zeros((8, 2, 2, 2), np.uint8)
    images[:, 1] = np.arange(8)[:, None, None]
    mean, deviation = channel_statistics(images)
    np.testing.assert_allclose(mean, [0, 3.5])
    np.testing.assert_allclose(deviation, [0, np.arange(8).std()])
    scaling = scaling_of(images, "standardised")
    assert np.isfinite(scaling.factor).all()


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_realised_rate(rate: float) -> None:
    clean = photographs()
    given = Instance(rate=rate).given(clean, 0)
    expected = {0.2: 0.2055, 0.7: 0.6996}[rate]
    deviation = np.sqrt(expected * (1 - expected) / len(given))
    assert abs((given != clean.labels).mean() - expected) < 4 * deviation


def test_common_light_gives_a_class_one_wrong_label_until_it_is_taken_away() -> None:
    clean = photographs()
    shares = [
        largest_share(clean, Instance(0.4, scale).given(clean, 0))
        for scale in ("raw255", "standardised")
    ]
    assert shares[0] > 0.9 > 0.5 > shares[1]


def test_an_image_has_one_wrong_label_in_raw_pixels_and_several_in_small_ones() -> None:
    clean = photographs(200)
    q = np.full(200, 0.5)
    weights = normal(np.random.Generator(np.random.Philox(key=6)).random((K, 108, K))).__getitem__
    tops = []
    for factor in (1.0, 1e-4):
        scaling = Scaling(np.zeros(3), np.full(3, factor))
        rows = probabilities(clean.images, clean.rows, clean.labels, q, weights, scaling)
        np.testing.assert_allclose(rows.sum(1), 1)
        np.testing.assert_allclose(rows[clean.rows, clean.labels], 0.5)
        rows[clean.rows, clean.labels] = 0
        tops.append(rows.max(1).mean() / 0.5)
    assert tops[0] > 0.999
    assert tops[1] == pytest.approx(1 / (K - 1), abs=0.05)


def test_a_missing_class_is_no_obstacle() -> None:
    clean = photographs(50)
    rows = np.flatnonzero(clean.labels != 2)
    part = Clean("toy", clean.labels[rows], K, clean.images, rows)
    whole = Instance().given(clean, 0)
    np.testing.assert_array_equal(Instance().given(part, 0), whole[rows])
    np.testing.assert_array_equal(
        drawn(np.eye(K)[part.labels], part.labels, part.uniforms(0)), part.labels
    )
