"""The networks' parameters, counted against the sources or by hand, and how each is put together.

A convolution k x k from a to b channels has k k a b weights, a batch norm of b channels 2 b, a
linear layer from a to b has a b + b. Everything is built on the meta device: shapes alone.
"""

from itertools import pairwise

import pytest
import torch
from torch import nn

from trainables.models import MODELS

Shape = tuple[int, int, int]
CIFAR = (3, 32, 32)


def conv(inputs: int, outputs: int, side: int = 3, bias: bool = True) -> int:
    return side * side * inputs * outputs + bias * outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def norm(channels: int) -> int:
    return 2 * channels


def wide(*channels: int) -> int:
    """Biased 3 x 3 convolutions with batch norms."""
    pairs = pairwise(channels)
    return sum(conv(inputs, outputs) + norm(outputs) for inputs, outputs in pairs)


def hidden(*units: int) -> int:
    """Linear layers with batch norms."""
    pairs = pairwise(units)
    return sum(linear(inputs, outputs) + norm(outputs) for inputs, outputs in pairs)


def preact(classes: int) -> int:
    """SOP's: stem with its batch norm, four groups of two blocks, no last batch norm."""
    total = conv(3, 64, bias=False) + norm(64)
    inputs = 64
    for width in (64, 128, 256, 512):
        first = norm(inputs) + conv(inputs, width, bias=False)
        second = norm(width) + conv(width, width, bias=False)
        shortcut = 0 if inputs == width else conv(inputs, width, side=1, bias=False)
        again = 2 * (norm(width) + conv(width, width, bias=False))
        total += first + second + shortcut + again
        inputs = width
    return total + linear(512, classes)


def vit(tokens: int, patch: int, channels: int, width: int, depth: int, classes: int) -> int:
    attention = linear(width, 3 * width) + linear(width, width)
    block = norm(width) + attention + norm(width) + 2 * 4 * width * width + 5 * width
    patches = conv(channels, width, side=patch)
    return patches + tokens * width + depth * block + norm(width) + linear(width, classes)


WIDE = 9 * (160 + 320 + 640) + 16  # biases of WRN-28-10: nine convolutions a group, and the stem


@pytest.mark.parametrize(
    ("name", "options", "shape", "classes", "count"),
    [
        ("resnet18", {}, CIFAR, 10, 11_173_962),
        ("resnet18", {"padding": 0}, CIFAR, 10, 11_173_962),
        ("resnet18", {"stem": "imagenet"}, (3, 224, 224), 1000, 11_689_512),  # torchvision's
        ("resnet34", {}, CIFAR, 10, 21_282_122),
        ("resnet34", {"stem": "imagenet"}, (3, 224, 224), 1000, 21_797_672),
        ("resnet50", {}, CIFAR, 10, 23_520_842),
        ("resnet50", {}, (1, 28, 28), 10, 23_520_842 - 2 * 9 * 64),
        ("resnet50", {"stem": "imagenet"}, (3, 224, 224), 1000, 25_557_032),
        ("preact-resnet18", {}, CIFAR, 10, preact(10)),
        ("preact-resnet18", {}, CIFAR, 100, preact(100)),
        ("wrn-28-10", {"bias": False}, CIFAR, 10, 36_479_194),
        ("wrn-28-10", {}, CIFAR, 10, 36_479_194 + WIDE),
        ("vcnn", {}, CIFAR, 10, wide(3, 32, 64, 128, 128, 256, 256)
         + hidden(256 * 4 * 4, 1024, 512) + linear(512, 10)),
        ("fcnn", {}, CIFAR, 10, hidden(3072, 250, 250, 250, 250, 250, 50) + linear(50, 10)),
        ("cnn8", {}, CIFAR, 10, wide(3, 64, 64, 128, 128, 196, 196)
         + hidden(196 * 4 * 4, 256) + linear(256, 10)),
        ("cnn9", {}, CIFAR, 100, wide(3, 128, 128, 128, 256, 256, 256, 512, 256, 128)
         + linear(128, 100)),
        ("vit", {}, CIFAR, 10, vit(64, 4, 3, 192, 6, 10)),
        ("vit", {"patch": 7, "width": 64, "depth": 2, "heads": 8}, (1, 28, 28), 10,
         vit(16, 7, 1, 64, 2, 10)),
        ("torchvision", {"name": "resnet50"}, (3, 224, 224), 1000, 25_557_032),
        ("torchvision", {}, (1, 28, 28), 10, 11_689_512 - linear(512, 1000) + linear(512, 10)),
    ],
)  # fmt: skip
def test_a_network_has_as_many_parameters_as_its_source(
    name: str, options: dict[str, object], shape: Shape, classes: int, count: int
) -> None:
    with torch.device("meta"):
        model = MODELS[name](**options).build(shape, classes)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "wrn-28-10", "vit"])
def test_the_counts_in_docstrings_are_true(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name]().build(CIFAR, 10)
    count = f"{sum(p.numel() for p in model.parameters()):,}"
    assert f"{count} parameters" in (MODELS[name].__doc__ or "")


@pytest.mark.parametrize(
    ("options", "side", "mapped"),
    [
        ({}, 32, [32, 32, 16, 8, 4]),
        ({"padding": 0}, 32, [30, 30, 15, 8, 4]),  # CDR's copy
        ({}, 28, [28, 28, 14, 7, 4]),
        ({"stem": "imagenet"}, 224, [112, 56, 28, 14, 7]),
    ],
    ids=str,
)
def test_a_resnet_s_maps_shrink_where_they_should(
    options: dict[str, object], side: int, mapped: list[int]
) -> None:
    with torch.device("meta"):
        model = MODELS["resnet18"](**options).build((3, side, side), 10)
        sides = []
        x = torch.empty(1, 3, side, side)
        for layer in model.children():
            x = layer(x)
            if x.dim() == 4:
                sides.append(x.shape[2])
    stem, blocks = sides[0], sides[-9:-1]  # the mean follows
    assert [stem, *blocks[::2]] == mapped
    assert blocks[::2] == blocks[1::2]


def test_sop_s_blocks_add_what_their_first_batch_norm_gives() -> None:
    model = MODELS["preact-resnet18"]().build((1, 8, 8), 2)
    kinds = [type(layer).__name__ for layer in model.children()]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", *["_Block"] * 8,
                     "AdaptiveAvgPool2d", "Flatten", "Linear"]  # fmt: skip
    block = model.eval()[3]
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 64, 4, 4)
    torch.testing.assert_close(block(x), x.relu() / (1 + block.bn1.eps) ** 0.5)


def test_the_wide_network_is_mr_s() -> None:
    with torch.device("meta"):
        model = MODELS["wrn-28-10"]().build(CIFAR, 10)
    children = list(model.children())
    blocks = children[1:13]
    assert [block.conv1.stride for block in blocks] == [(1, 1)] * 12
    assert [block.conv2.stride[0] for block in blocks] == [1] * 4 + [2, 1, 1, 1] * 2
    assert children[13].momentum == 0.9
    assert {block.bn2.momentum for block in blocks} == {0.1}
    block = MODELS["wrn-28-10"](depth=10, width=1).build((1, 8, 8), 2).eval()[1]
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(x), x)


def test_the_layers_of_the_plain_networks_are_those_of_their_sources() -> None:
    with torch.device("meta"):
        vcnn, cnn8, cnn9 = (
            list(MODELS[name]().build(CIFAR, 10).children()) for name in ("vcnn", "cnn8", "cnn9")
        )
    kinds = [type(layer).__name__ for layer in vcnn]
    pair = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    unit = ["Linear", "BatchNorm1d", "ReLU"]
    assert kinds == [*pair * 3, "Flatten", "Dropout", *unit * 2, "Linear"]
    assert [type(layer).__name__ for layer in cnn8] == [*pair * 3, "Flatten", *unit, "Linear"]
    paddings = [layer.padding[0] for layer in cnn9 if isinstance(layer, nn.Conv2d)]
    assert paddings == [1] * 6 + [0] * 3
    assert [layer.p for layer in cnn9 if isinstance(layer, nn.Dropout2d)] == [0.25, 0.25]
    slopes = {layer.negative_slope for layer in cnn9 if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_the_8_layer_network_starts_as_its_authors_start_it() -> None:
    torch.manual_seed(0)
    model = MODELS["cnn8"]().build((3, 16, 16), 10)
    for layer in model.children():
        if isinstance(layer, nn.Conv2d):
            limit = (6 / (9 * layer.in_channels)) ** 0.5  # He, fan-in
        elif isinstance(layer, nn.Linear):
            limit = (6 / (layer.in_features + layer.out_features)) ** 0.5  # Xavier
        else:
            continue
        assert 0.97 * limit < layer.weight.abs().max() <= limit


def test_the_fully_connected_network_ends_in_logits() -> None:
    torch.manual_seed(0)
    model = MODELS["fcnn"](width=8, depth=2, last=4).build((1, 4, 4), 3)
    sizes = [layer.out_features for layer in model.children() if isinstance(layer, nn.Linear)]
    assert sizes == [8, 8, 4, 3]
    logits = model(torch.randn(5, 1, 4, 4))
    assert not torch.allclose(logits.sum(1), torch.ones(5))
    assert logits.min() < 0
