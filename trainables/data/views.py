"""Batched augmentation on the device: one call moves every image of a batch by its own amount."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each image by a whole number of pixels each way, filling with zeros.

    Args:
        images: (B, C, H, W), any type.
        pixels: the largest move; each of the 2 pixels + 1 moves per axis is equally likely.
        generator: on the images' device.

    Returns:
        (B, C, H, W), a new tensor.
    """
    if pixels == 0:
        return images.clone()
    count, _, height, width = images.shape
    moves = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=images.device)
    rows = (moves[0] + torch.arange(height, device=images.device))[:, :, None]
    columns = (moves[1] + torch.arange(width, device=images.device))[:, None, :]
    wide = width + 2 * pixels
    padded = pad(images, (pixels,) * 4).flatten(2)
    where = (rows * wide + columns).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return padded.gather(2, where).view_as(images)
