"""Batched augmentation: every move, equally often, image by image."""

from collections import Counter

import pytest
import torch

from trainables.data.views import STILL, View, augmented

# [[1, 2], [3, 4]] seen through a window that is `rows` lower and `columns` further right
MOVES = {
    (-1, -1): (0, 0, 0, 1),
    (-1, 0): (0, 0, 1, 2),
    (-1, 1): (0, 0, 2, 0),
    (0, -1): (0, 1, 0, 3),
    (0, 0): (1, 2, 3, 4),
    (0, 1): (2, 0, 4, 0),
    (1, -1): (0, 3, 0, 0),
    (1, 0): (3, 4, 0, 0),
    (1, 1): (4, 0, 0, 0),
}


def moved(count: int, pixels: int = 1) -> list[tuple[int, ...]]:
    """Views of one small image of two channels, the second ten times the first."""
    image = torch.tensor([[[1, 2], [3, 4]], [[10, 20], [30, 40]]], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    views = augmented(image.expand(count, -1, -1, -1), View(pixels), generator)
    assert views.shape == (count, 2, 2, 2)
    assert views.dtype == torch.uint8
    assert torch.equal(views[:, 1], 10 * views[:, 0])  # channels move together
    return [tuple(view) for view in views[:, 0].flatten(1).tolist()]


def test_every_move_is_made_and_equally_often() -> None:
    counts = Counter(moved(9000))
    assert set(counts) == set(MOVES.values())
    chi = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi < 30  # 8 degrees of freedom: exceeded once in 5,000 seeds


def test_neighbours_in_a_batch_move_independently() -> None:
    views = moved(16_200)
    pairs = Counter(zip(views[::2], views[1::2], strict=True))
    assert len(pairs) == 81
    assert sum((count - 100) ** 2 / 100 for count in pairs.values()) < 140  # 80 degrees of freedom


def test_a_batch_of_different_images_keeps_its_order() -> None:
    images = torch.arange(1, 101, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 3, 5)
    views = augmented(images, View(1), torch.Generator().manual_seed(0))
    centre = views[:, 0, 1, 1:4]  # a move by one leaves the middle inside
    assert (centre == images[:, 0, 1, 1:4]).all()
    assert (views[:, 0, 0, 0] == 0).float().mean() == pytest.approx(5 / 9, abs=0.2)


def test_no_move_is_a_copy() -> None:
    images = torch.ones(2, 1, 2, 2)
    views = augmented(images, STILL, torch.Generator())
    views[:] = 5
    assert (images == 1).all()


def test_larger_moves_stay_within_their_bounds() -> None:
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1
    views = augmented(image.expand(4000, -1, -1, -1), View(2), torch.Generator().manual_seed(0))
    seen = views[:, 0].sum(0)
    assert (seen[1:6, 1:6] > 0).all()
    assert seen.sum() == seen[1:6, 1:6].sum() == 4000


def test_half_of_the_views_are_flipped_and_nothing_else() -> None:
    image = torch.tensor([[[1, 2, 3], [4, 5, 6]]], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    views = augmented(image.expand(2000, -1, -1, -1), View(flip=True), generator)
    counts = Counter(tuple(view) for view in views.flatten(1).tolist())
    assert set(counts) == {(1, 2, 3, 4, 5, 6), (3, 2, 1, 6, 5, 4)}
    assert abs(counts[1, 2, 3, 4, 5, 6] - 1000) < 90  # 4 deviations


def test_a_reflected_edge_is_the_mirror_image() -> None:
    image = torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    views = augmented(image.expand(500, -1, -1, -1), View(1, reflect=True), generator)
    assert views.dtype == torch.uint8
    seen = {tuple(view) for view in views.flatten(1).tolist()}
    assert len(seen) == 9
    assert (5, 4, 5, 2, 1, 2, 5, 4, 5) in seen  # one up and one left
    assert (1, 2, 3, 4, 5, 6, 7, 8, 9) in seen
