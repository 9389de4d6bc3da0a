"""Batched augmentation on the device: one call moves every image of a batch by its own amount."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class View:
    """How a training image may be moved: the weak augmentation of a data set.

    Attributes:
        pixels: largest move each way; each of the 2 pixels + 1 moves per axis is equally likely.
        flip: whether left and right change places in half of the views.
        reflect: whether the image is continued by its mirror image, not by black.
    """

    pixels: Annotated[int, Ge(0)] = 0
    flip: bool = False
    reflect: bool = False


STILL = View()


def augmented(images: Tensor, view: View, generator: torch.Generator) -> Tensor:
    """A fresh view of each image, moved and flipped independently of its neighbours.

    One gather does both: cropping at an offset is reading rows and columns from it, and flipping
    is reading the columns backwards.

    Args:
        images: (B, C, H, W), any type.
        view: what may be done.
        generator: on the images' device.

    Returns:
        (B, C, H, W), a new tensor.
    """
    count, channels, height, width = images.shape
    pixels, device = view.pixels, images.device
    moves = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=device)
    across = torch.arange(width, device=device).expand(count, width)
    if view.flip:
        backwards = torch.randint(2, (count, 1), generator=generator, device=device)
        across = torch.where(backwards == 1, width - 1 - across, across)
    rows = moves[0] + torch.arange(height, device=device)
    columns = moves[1] + across
    wide = width + 2 * pixels
    if view.reflect and pixels:
        mirrored = pad(images.float(), (pixels,) * 4, mode="reflect").to(images.dtype)
        padded = mirrored.flatten(2)
    else:
        padded = pad(images, (pixels,) * 4).flatten(2)
    where = (rows[:, :, None] * wide + columns[:, None, :]).flatten(1)
    return padded.gather(2, where[:, None].expand(-1, channels, -1)).view_as(images)
