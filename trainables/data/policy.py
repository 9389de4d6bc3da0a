"""AutoAugment's policy for CIFAR-10, for a whole batch at once and on its device.

Each image gets a sub-policy of its own: two operations, each with a probability and a level. The
images are sorted by what is to be done to them, so that torchvision is called once for all of a
kind. What is done is torchvision's `AutoAugment(CIFAR10)`, to the pixel: nearest neighbours, black
where an image was moved away.

Source: E. Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019, table
7. Levels are torchvision's: 0..9, and brightness, colour, contrast and sharpness go either way
around 1; in the authors' code they are 0..10 and go from 0.1 to 1.9.
"""

from collections.abc import Callable
from functools import cache
from math import atan, degrees

import torch
from torch import Tensor

POLICY = (  # (operation, probability, level), the first first
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
SIGNED = {  # magnitude at level 9, from 0 at level 0; half of the images get it negative
    "ShearY": 0.3,
    "TranslateX": 150 / 331,  # of the width
    "TranslateY": 150 / 331,  # of the height
    "Rotate": 30.0,  # degrees
    "Brightness": 0.9,
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
}
UNSIGNED = {  # magnitudes at levels 0 and 9
    "Posterize": (8.0, 4.0),  # bits
    "Solarize": (255.0, 0.0),  # the first grey level that is inverted
    "AutoContrast": (0.0, 0.0),
    "Equalize": (0.0, 0.0),
    "Invert": (0.0, 0.0),
}
LEVELS = 10

Step = Callable[[Tensor], Tensor]


def magnitude(name: str, level: int, height: int, width: int) -> float:
    """How much an operation does at a level, in its own unit; translations are in whole pixels.

    >>> magnitude("TranslateX", 9, 32, 32), magnitude("Posterize", 7, 32, 32)
    (14.0, 5.0)
    """
    first, last = UNSIGNED.get(name) or (0.0, SIGNED[name])
    sides = {"TranslateX": width, "TranslateY": height}
    found = float(torch.linspace(first, last * sides.get(name, 1), LEVELS)[level])
    if name in sides:
        return float(int(found))
    return float(round(found)) if name == "Posterize" else found


@cache
def operations() -> dict[str, Callable[[Tensor, float], Tensor]]:
    """What is done to images (n, C, H, W) uint8, of one or three channels, at a magnitude."""
    from torchvision.transforms.v2 import functional as tv  # takes seconds, and few trials need it

    def affine(x: Tensor, across: float, down: float, shear: float = 0.0) -> Tensor:
        middle = None if shear == 0.0 else [0, 0]  # a shear leaves the upper edge where it is
        angles = [0.0, degrees(atan(shear))]
        moved: Tensor = tv.affine(x, 0.0, [across, down], 1.0, angles, center=middle)
        return moved

    return {
        "ShearY": lambda x, by: affine(x, 0, 0, by),
        "TranslateX": lambda x, by: affine(x, by, 0),
        "TranslateY": lambda x, by: affine(x, 0, by),
        "Rotate": lambda x, by: tv.rotate(x, by),
        "Brightness": lambda x, by: tv.adjust_brightness(x, 1 + by),
        "Color": lambda x, by: tv.adjust_saturation(x, 1 + by),
        "Contrast": lambda x, by: tv.adjust_contrast(x, 1 + by),
        "Sharpness": lambda x, by: tv.adjust_sharpness(x, 1 + by),
        "Posterize": lambda x, by: tv.posterize(x, int(by)),
        "Solarize": lambda x, by: tv.solarize(x, by),
        "AutoContrast": lambda x, by: tv.autocontrast(x),
        "Equalize": lambda x, by: tv.equalize(x),
        "Invert": lambda x, by: tv.invert(x),
    }


@cache
def steps(height: int, width: int) -> tuple[tuple[Step, ...], Tensor]:
    """Everything that can be done to an image of this size, each once; the first is nothing.

    Returns:
        The steps, and (25, 2, 2) their numbers by sub-policy, place in it, and sign (1: negative).
    """
    found: dict[tuple[str, float], int] = {}
    numbers = torch.empty(len(POLICY), 2, 2, dtype=torch.long)
    for row, pair in enumerate(POLICY):
        for place, (name, _, level) in enumerate(pair):
            by = magnitude(name, level, height, width)
            for sign, signed in enumerate((by, -by if name in SIGNED else by)):
                numbers[row, place, sign] = found.setdefault((name, signed), len(found) + 1)
    does = operations()
    return (torch.clone, *(_at(does[name], by) for name, by in found)), numbers


def _at(does: Callable[[Tensor, float], Tensor], by: float) -> Step:
    return lambda images: does(images, by)


def drawn(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What is drawn for each image, on the CPU: one copy from the generator's device.

    Returns:
        (B,) sub-policies, (B, 2) whether each of its operations is done, (B, 2) 1 for a negative
        magnitude.
    """
    draws = torch.rand(count, 5, generator=generator, device=generator.device).cpu()
    chosen = (draws[:, 0] * len(POLICY)).long()
    chances = torch.tensor([[chance for _, chance, _ in pair] for pair in POLICY])
    return chosen, draws[:, 1:3] < chances[chosen], (draws[:, 3:] < 0.5).long()


def policed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image after a sub-policy of its own.

    Args:
        images: (B, C, H, W) uint8, of one or three channels.
        generator: on the images' device.

    Returns:
        (B, C, H, W) uint8, a new tensor.
    """
    known, numbers = steps(*images.shape[2:])
    chosen, done, negative = drawn(len(images), generator)
    for place in (0, 1):
        number = numbers[chosen, place, negative[:, place]] * done[:, place]
        images = sorted_out(images, number, known)
    return images


def sorted_out(images: Tensor, number: Tensor, known: tuple[Step, ...]) -> Tensor:
    """Each image after the step of its number: images of one number are done together.

    Args:
        images: (B, C, H, W).
        number: (B,) positions in `known`, on the CPU.
        known: steps that leave type and shape as they are.

    >>> images = torch.tensor([1, 2, 3])[:, None, None, None]
    >>> sorted_out(images, torch.tensor([1, 0, 1]), (torch.clone, torch.neg)).flatten()
    tensor([-1,  2, -3])
    """
    where = number.argsort(stable=True).to(images.device)
    parts = torch.split_with_sizes(images.index_select(0, where), torch.bincount(number).tolist())
    moved = [step(part) for step, part in zip(known, parts, strict=False) if len(part)]
    return torch.empty_like(images).index_copy_(0, where, torch.cat(moved))
