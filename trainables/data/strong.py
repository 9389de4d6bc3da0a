"""Strong views: training images changed so much that only what they show stays the same.

First the content (AutoAugment's policy, a rotation), then the weak move and flip, then the hole:
the order of SOP's code; AutoAugment's paper moves and flips first.

Source: S. Liu et al., "Robust Training under Label Noise by Over-parameterization", ICML 2022, the
second view of SOP+. Hole: T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural
Networks with Cutout", arXiv 1708.04552.
"""

from dataclasses import dataclass
from math import radians
from typing import Annotated

import torch
from annotated_types import Ge, Le, MinLen
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from trainables.data.policy import policed
from trainables.data.views import STILL, View, augmented

Level = Annotated[int, Ge(0), Le(255)]


@dataclass(frozen=True)
class Strong:
    """How a training image may be changed strongly; by default, not at all.

    Attributes:
        view: how it is moved and flipped.
        policy: whether a sub-policy of AutoAugment's for CIFAR-10 is applied; for one or three
            channels.
        degrees: largest rotation each way about the middle, bilinear, continued by black.
        cutout: side of the square hole in pixels; part of it may lie outside.
        hole: what fills it, a grey level for each channel, or one for all.
    """

    view: View = STILL
    policy: bool = False
    degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    cutout: Annotated[int, Ge(0)] = 0
    hole: Annotated[tuple[Level, ...], MinLen(1)] = (0,)


UNCHANGED = Strong()


def strong(images: Tensor, how: Strong, generator: torch.Generator) -> Tensor:
    """A fresh strong view of each image, each changed by its own draws.

    Args:
        images: (B, C, H, W) uint8.
        how: what may be done.
        generator: on the images' device.

    Returns:
        (B, C, H, W) uint8, a new tensor.
    """
    if how.policy:
        images = policed(images, generator)
    if how.degrees:
        images = rotated(images, how.degrees, generator)
    images = augmented(images, how.view, generator)
    return pierced(images, how.cutout, how.hole, generator) if how.cutout else images


def rotated(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Images turned about their middle, each by its own uniform angle of up to `degrees` each way.

    Args:
        images: (B, C, H, W) uint8.
        degrees: at most 180.
        generator: on the images' device.
    """
    count, _, height, width = images.shape
    shares = 2 * torch.rand(count, generator=generator, device=images.device) - 1
    angles = radians(degrees) * shares
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # coordinates run from -1 to 1 along each side, however long it is
    rows = [cos, -sin * height / width, zero, sin * width / height, cos, zero]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images.float(), grid, align_corners=False).round().to(images.dtype)


def pierced(
    images: Tensor, side: int, levels: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Images with a square hole each, its centre uniform over the image, clipped at the borders.

    Args:
        images: (B, C, H, W) uint8.
        side: of the square, in pixels; an even one reaches one pixel further up and to the left.
        levels: what fills it, one for each channel or one for all.
        generator: on the images' device.
    """
    inside = []
    for length in images.shape[2:]:
        centre = torch.randint(length, (len(images), 1), generator=generator, device=images.device)
        from_edge = torch.arange(length, device=images.device) - (centre - side // 2)
        inside.append((from_edge >= 0) & (from_edge < side))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    fill = torch.tensor(levels, dtype=images.dtype, device=images.device)[:, None, None]
    return torch.where(hole, fill, images)
