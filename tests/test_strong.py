"""Strong views: torchvision's AutoAugment image by image, rotations, holes, each source's way."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as tv

from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.data.policy import POLICY, drawn, magnitude, operations, policed, sorted_out, steps
from trainables.data.sources.cifair import VIEW
from trainables.data.sources.cifar import STRONG, STRONG100
from trainables.data.sources.idx import STRONG as GREY
from trainables.data.strong import UNCHANGED, Strong, pierced, rotated, strong
from trainables.data.views import STILL, View, augmented

THEIRS = AutoAugment(AutoAugmentPolicy.CIFAR10)
APPLIED = sorted({(name, level) for pair in POLICY for name, _, level in pair})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Random images; every fourth is dark, every other fourth is of one colour."""
    shape = (count, channels, height, width)
    images = torch.randint(256, shape, generator=seeded(1), dtype=torch.uint8)
    images[::4] //= 5
    images[2::4] = images[2::4, :, :1, :1]
    return images


def theirs(image: Tensor, name: str, level: int, negative: bool) -> Tensor:
    """What torchvision does to one image."""
    height, width = image.shape[-2:]
    magnitudes, signed = THEIRS._AUGMENTATION_SPACE[name]
    found = magnitudes(10, height, width)
    by = 0.0 if found is None else float(found[level])
    by = -by if signed and negative else by
    done: Tensor = THEIRS._apply_image_or_video_transform(image, name, by, THEIRS.interpolation, {})
    return done


def test_the_policy_is_torchvision_s() -> None:
    ours = [tuple((name, chance) for name, chance, _ in pair) for pair in POLICY]
    assert ours == [tuple((name, chance) for name, chance, _ in p) for p in THEIRS._policies]
    for mine, other in zip(POLICY, THEIRS._policies, strict=True):
        for (_, _, level), (_, _, known) in zip(mine, other, strict=True):
            assert level == (known or 0)
    assert len(POLICY) == 25
    assert {name for name, _ in APPLIED} == set(operations())


@pytest.mark.parametrize(("name", "level"), APPLIED)
@pytest.mark.parametrize("negative", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 33)], ids=str)
def test_an_operation_is_torchvision_s_to_the_pixel(
    shape: tuple[int, int, int], negative: bool, name: str, level: int
) -> None:
    images = pictures(12, *shape)
    known, numbers = steps(*shape[1:])
    row, place = next(
        (row, place)
        for row, pair in enumerate(POLICY)
        for place, (found, _, at) in enumerate(pair)
        if (found, at) == (name, level)
    )
    done = known[int(numbers[row, place, int(negative)])](images)
    expected = torch.stack([theirs(image, name, level, negative) for image in images])
    assert done.dtype == torch.uint8
    assert torch.equal(done, expected)


def test_a_batch_is_torchvision_s_image_by_image() -> None:
    images = pictures(400)
    done = policed(images, seeded())
    chosen, taken, negative = drawn(len(images), seeded())
    for image, found, row, doing, signs in zip(images, done, chosen, taken, negative, strict=True):
        for (name, _, level), do, sign in zip(POLICY[int(row)], doing, signs, strict=True):
            image = theirs(image, name, level, bool(sign)) if do else image
        assert torch.equal(found, image)


def test_sub_policies_signs_and_operations_come_as_often_as_they_should() -> None:
    count = 100_000
    chosen, taken, negative = drawn(count, seeded())
    counts = torch.bincount(chosen, minlength=25)
    assert len(counts) == 25
    assert ((counts - count / 25) ** 2 / (count / 25)).sum() < 55  # 24 degrees: once in 3,000
    assert negative.float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.007)
    for row, pair in enumerate(POLICY):
        shares = taken[chosen == row].float().mean(0).tolist()
        chances = [chance for _, chance, _ in pair]
        assert shares == pytest.approx(chances, abs=0.035)  # 4 deviations of 4,000 draws
        assert [share == 0 for share in shares] == [chance == 0 for chance in chances]
    both = taken.float() - taken.float().mean(0)
    assert abs((both[chosen == 3].prod(1)).mean()) < 0.035  # the two coins are two


def test_a_magnitude_of_zero_and_whole_pixels() -> None:
    assert magnitude("Color", 0, 32, 32) == 0
    assert magnitude("TranslateY", 9, 64, 10) == 29
    assert magnitude("Solarize", 5, 8, 8) == pytest.approx(255 * 4 / 9)
    image = torch.ones(1, 1, 32, 32, dtype=torch.uint8)
    moved = operations()["TranslateX"](image, 14.0)
    assert moved[0, 0].sum(0).tolist() == [0] * 14 + [32] * 18


def test_images_of_one_number_are_done_in_one_call() -> None:
    sizes: list[int] = []

    def noted(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images + 1

    images = torch.arange(6)[:, None, None, None]
    done = sorted_out(images, torch.tensor([2, 0, 2, 0, 0, 2]), (torch.clone, noted, noted))
    assert sizes == [3]
    assert done.flatten().tolist() == [1, 1, 3, 3, 4, 6]


# Rotations


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 13)], ids=str)
def test_a_rotation_is_torchvision_s(shape: tuple[int, int, int]) -> None:
    images = pictures(50, *shape)
    done = rotated(images, 15, seeded())
    angles = 15 * (2 * torch.rand(50, generator=seeded()) - 1)
    bilinear = tv.InterpolationMode.BILINEAR
    for image, found, angle in zip(images, done, angles.tolist(), strict=True):
        expected = tv.rotate(image, angle, interpolation=bilinear)
        assert (found.int() - expected.int()).abs().max() <= 1  # before rounding, a last bit


def test_angles_are_uniform_each_way() -> None:
    images = torch.zeros(2000, 1, 33, 33, dtype=torch.uint8)
    images[:, :, 16, 31] = 255  # 15 to the right of the middle
    rows = torch.arange(33.0)[:, None]
    seen = rotated(images, 30, seeded())[:, 0].float()
    heights = (seen * rows).sum((1, 2)) / seen.sum((1, 2)) - 16
    angles = (heights / 15).asin().rad2deg()
    assert angles.abs().max() < 31
    counts = torch.histc(angles, 6, -30, 30)
    assert ((counts - 333) ** 2 / 333).sum() < 25


# Holes


@pytest.mark.parametrize("side", [1, 2, 7, 16, 99])
def test_a_hole_is_a_square_clipped_at_the_borders(side: int) -> None:
    """Each place along an axis is as often in the hole as centres reach it, corners least."""
    images = torch.full((6000, 2, 6, 9), 200, dtype=torch.uint8)
    holes = pierced(images, side, (3, 4), seeded())
    inside = holes[:, 0] == 3
    assert torch.equal(inside, holes[:, 1] == 4)
    assert holes[:, 0][~inside].eq(200).all()
    down, across = inside.any(2), inside.any(1)
    assert torch.equal(inside, down[:, :, None] & across[:, None, :])
    for hits, length in ((down, 6), (across, 9)):
        # unclipped, it would be rows first to first + side - 1
        allowed = set()
        for centre in range(length):
            first = centre - side // 2
            allowed.add(tuple(0 <= at - first < side for at in range(length)))
        counts = Counter(map(tuple, hits.tolist()))
        assert set(counts) == allowed
        reached = [sum(row[at] for row in allowed) for at in range(length)]
        if len(allowed) == length:  # each centre has a pattern of its own
            expected = [share / length for share in reached]
            assert hits.float().mean(0).tolist() == pytest.approx(expected, abs=0.03)


def test_a_hole_of_cifar_has_the_area_of_cutout() -> None:
    """16 of 32: from 8 x 8 in a corner to 16 x 16, on average 12 each way (DeVries & Taylor)."""
    images = torch.ones(4000, 1, 32, 32, dtype=torch.uint8)
    areas = (pierced(images, 16, (0,), seeded()) == 0).sum((1, 2, 3))
    assert (areas.min(), areas.max()) == (64, 256)
    sides = [min(32, centre + 8) - max(0, centre - 8) for centre in range(32)]
    mean = sum(sides) / 32
    assert areas.float().mean() == pytest.approx(mean * mean, rel=0.02)


# Views


WAYS = {"colour": STRONG, "grey": GREY, "grey policy": replace(STRONG, hole=(9,))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_view_is_a_function_of_the_generator(way: str, count: int) -> None:
    images = pictures(count, 3 if way == "colour" else 1, 28, 28)
    before = images.clone()
    global_state = torch.get_rng_state()
    first, again, other = (strong(images, WAYS[way], seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert first.is_contiguous()


def test_a_neighbour_changes_nothing() -> None:
    images = pictures(64)
    others = images.clone()
    others[1:] = 255 - others[1:]
    assert torch.equal(strong(images, STRONG, seeded())[0], strong(others, STRONG, seeded())[0])
    same = strong(images[1:2].expand(500, -1, -1, -1), STRONG, seeded())
    assert len({view.numpy().tobytes() for view in same}) > 495


def test_a_weak_view_is_what_is_left_without_the_rest() -> None:
    images = pictures(16)
    only = strong(images, Strong(VIEW), seeded())
    assert torch.equal(only, augmented(images, VIEW, seeded()))
    whole = strong(images, UNCHANGED, seeded())
    assert torch.equal(whole, images)
    whole[:] = 0
    assert images.any()


def test_the_content_is_changed_first_then_moved_then_pierced() -> None:
    images = pictures(32)
    generator = seeded()
    content = rotated(policed(images, generator), 10, generator)
    expected = pierced(augmented(content, STRONG.view, generator), 16, STRONG.hole, generator)
    how = replace(STRONG, degrees=10)
    assert torch.equal(strong(images, how, seeded()), expected)


@pytest.mark.parametrize("how", [STRONG, GREY], ids=["colour", "grey"])
def test_six_strong_views_differ_from_each_other_and_from_every_weak_one(how: Strong) -> None:
    for image in pictures(8, 3 if how.policy else 1)[1::2]:
        views = strong(image.expand(6, -1, -1, -1), how, seeded())
        weak = augmented(image.expand(2000, -1, -1, -1), how.view, seeded())
        kinds = {view.numpy().tobytes() for view in weak}
        assert len(kinds) == (2 * how.view.pixels + 1) ** 2 * (1 + how.view.flip)
        assert len(kinds | {view.numpy().tobytes() for view in views}) == len(kinds) + 6


# What sources ask for


@pytest.mark.parametrize(
    ("how", "side", "channels"), [(STRONG, 32, 3), (STRONG100, 32, 3), (GREY, 28, 1)]
)
def test_a_declared_way_fits_its_images(how: Strong, side: int, channels: int) -> None:
    assert len(how.hole) in (1, channels)
    assert how.view != STILL
    assert 0 < how.cutout <= side // 2
    assert how.policy is (channels == 3)
    assert (how.degrees > 0) is (channels == 1)


@pytest.mark.parametrize("augment", [False, True])
def test_a_task_has_its_source_s_strong_view_whether_it_moves_images_or_not(augment: bool) -> None:
    data = prepare(Config.parse({"augment": augment}).task)
    assert data.strong == Strong(View(pixels=1), degrees=10, cutout=2)
    assert data.view == (View(pixels=1) if augment else STILL)
    views = strong(data.images[:50], data.strong, seeded())
    assert views.shape == (50, 1, 8, 8)
    assert (views != data.images[:50]).flatten(1).any(1).all()


@pytest.mark.gpu
@pytest.mark.parametrize(("how", "channels"), [(STRONG, 3), (GREY, 1)])
def test_a_gpu_makes_the_same_kind_of_views(how: Strong, channels: int) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    images = pictures(64, channels).cuda()
    views = strong(images, how, generator)
    assert views.is_cuda
    again = strong(images, how, generator.manual_seed(0))
    assert torch.equal(views, again)
    for step in steps(32, 32)[0]:
        away = (step(images).cpu().int() - step(images.cpu()).int()).abs()
        assert (away > 1).float().mean() < 0.01  # a pixel between two, a TF32 blur
