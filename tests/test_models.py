"""The networks: sizes and layers."""

import pytest
import torch
from torch import nn

from trainables.models import MODELS
from trainables.models.cnn import CNN
from trainables.models.lenet import LeNet


def parameters(model: nn.Module, dims: tuple[int, ...] = (1, 2, 4)) -> int:
    return sum(p.numel() for p in model.parameters() if p.dim() in dims)


def test_lenet_is_that_of_cdr() -> None:
    model = LeNet().build((1, 28, 28), 10)
    assert parameters(model) == 61_706
    assert parameters(model, (2, 4)) == 61_470
    kinds = [type(layer).__name__ for layer in model.children()]
    block, hidden = ["Conv2d", "ReLU", "MaxPool2d"], ["Linear", "ReLU"]
    assert kinds == [*block, *block, "Flatten", *hidden, *hidden, "Linear"]
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    assert shapes == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    paddings = [layer.padding for layer in model.children() if isinstance(layer, nn.Conv2d)]
    assert paddings == [(2, 2), (0, 0)]


def test_the_docstrings_count_is_true() -> None:
    count = parameters(CNN().build((1, 8, 8), 10))
    assert f"{count:,} parameters for one channel of 8 x 8 and ten classes" in (CNN.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("cnn", (1, 8, 8), 10),
        ("cnn", (3, 32, 32), 100),
        ("cnn", (1, 9, 5), 2),
        ("lenet", (1, 28, 28), 10),
        ("lenet", (3, 32, 32), 100),
        ("lenet", (2, 29, 13), 3),
    ],
)
def test_every_size_builds_and_learns(name: str, shape: tuple[int, int, int], classes: int) -> None:
    model = MODELS[name]().build(shape, classes)
    logits = model(torch.rand(4, *shape))
    assert logits.shape == (4, classes)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_dropout_acts_in_training_only() -> None:
    x = torch.rand(4, 1, 8, 8)
    for dropout, differs in ((0.0, False), (0.5, True)):
        model = CNN(dropout=dropout).build((1, 8, 8), 10)
        dropped = [layer.p for layer in model.children() if isinstance(layer, nn.Dropout)]
        assert dropped == [dropout]
        assert torch.equal(model(x), model(x)) is not differs
        model.eval()
        assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_builds_the_same_network(name: str) -> None:
    def built(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = MODELS[name]().build((1, 16, 16), 10)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(built(1), built(1))
    assert not torch.equal(built(1), built(2))
