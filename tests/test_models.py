"""The networks: sizes, shapes, and what every one of them promises."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trainables.config import Config
from trainables.cost import try_out
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.models import MODELS
from trainables.models.cnn import CNN
from trainables.models.lenet import LeNet

Shape = tuple[int, int, int]
SMALL: dict[str, dict[str, Any]] = {  # options under which a test takes no time
    "wrn-28-10": {"depth": 10, "width": 1},
    "vit": {"width": 24, "depth": 2},
    "torchvision": {"name": "squeezenet1_1"},
}
LEAST: dict[str, Shape] = {  # images as small as the network takes, where 8 x 8 are too small
    "lenet": (1, 16, 16),
    "cnn9": (3, 28, 28),
    "torchvision": (3, 32, 32),
}
FIT = [  # of 1 x 28 x 28, 3 x 32 x 32, 3 x 64 x 64: every network takes every one of them
    (1, 28, 28),
    (3, 32, 32),
    (3, 64, 64),
]


def built(name: str, shape: Shape, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](**SMALL.get(name, {})).build(shape, classes)


def parameters(model: nn.Module, dims: tuple[int, ...] = (1, 2, 4)) -> int:
    return sum(p.numel() for p in model.parameters() if p.dim() in dims)


def own(name: str) -> Shape:
    """Images small enough for a test, and large enough for the network."""
    return LEAST.get(name, (3, 8, 8))


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


@pytest.mark.parametrize("shape", FIT, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_usual_sizes_fit(name: str, shape: Shape) -> None:
    with torch.device("meta"), torch.no_grad():
        model = MODELS[name]().build(shape, 100)
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        assert model.eval()(torch.empty(2, *shape)).shape == (2, 100)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("cnn", (1, 9, 5), 2),
        ("lenet", (2, 29, 13), 3),
        *((name, own(name), 3) for name in MODELS),
    ],
)
def test_every_parameter_learns(name: str, shape: Shape, classes: int) -> None:
    model = built(name, shape, classes)
    logits = model(torch.rand(4, *shape))
    assert logits.shape == (4, classes)
    (logits * torch.randn(4, classes)).sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        # a bias ahead of a batch norm has the gradient 0, but for rounding
        assert parameter.dim() == 1 or parameter.grad.any(), path


@pytest.mark.parametrize("name", MODELS)
def test_a_row_s_logits_do_not_depend_on_its_batch(name: str) -> None:
    model, shape = built(name, own(name)).eval(), own(name)
    rows = torch.randn(5, *shape)
    with torch.no_grad():
        whole, alone, mixed = model(rows), model(rows[1:2]), model(rows[[4, 1, 1]])
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole[[4, 1, 1]], mixed, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1])


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_builds_and_trains_the_same_network(name: str) -> None:
    x = torch.randn(3, *own(name))

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model = MODELS[name](**SMALL.get(name, {})).build(own(name), 10)
        logits: torch.Tensor = model(x)  # dropout draws from the same stream
        return logits

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


@pytest.mark.parametrize(
    ("name", "layers"),
    [("cnn", 1), ("vcnn", 1), ("cnn9", 2), ("wrn-28-10", 3)],
)
def test_dropout_acts_in_training_only(name: str, layers: int) -> None:
    x = torch.rand(4, *own(name))
    for dropout, differs in ((0.0, False), (0.5, True)):
        options = SMALL.get(name, {}) | {"dropout": dropout}
        model = MODELS[name](**options).build(own(name), 10)
        kinds = nn.Dropout | nn.Dropout2d
        dropped = [layer.p for layer in model.modules() if isinstance(layer, kinds)]
        assert dropped == [dropout] * layers
        assert torch.equal(model(x), model(x)) is not differs
        model.eval()
        assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"wrn-28-10": {"depth": 27}}, "model.wrn-28-10.depth = 27: must be 6 n + 4"),
        ({"wrn-28-10": {"depth": 4}}, "model.wrn-28-10.depth = 4: must be 6 n + 4"),
        ({"vit": {"heads": 5}}, "model.vit.heads = 5: must divide model.vit.width = 192"),
        (
            {"torchvision": {"name": "resnet19"}},
            "model.torchvision.name = resnet19: unknown name 'resnet19' (did you mean resnet",
        ),
    ],
)
def test_an_option_that_no_image_fits_is_told(model: dict[str, Any], told: str) -> None:
    network = Config.parse({"model": model}).make_model()
    with pytest.raises(ConfigError) as refused:
        network.build((3, 32, 32), 10)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("vit", (1, 10, 8)),
        ("lenet", (1, 8, 8)),
        ("cnn9", (1, 8, 8)),
        ("cnn8", (1, 7, 32)),
        ("vcnn", (1, 7, 32)),
        ({"torchvision": {"name": "alexnet"}}, (1, 8, 8)),
        ({"torchvision": {"name": "vit_b_16"}}, (3, 28, 28)),
        ({"torchvision": {"name": "vit_b_16"}}, (3, 32, 48)),
        ("torchvision", (2, 64, 64)),
    ],
    ids=str,
)
def test_images_that_do_not_fit_are_told(data: Dataset, model: Any, shape: Shape) -> None:
    config = Config.parse({"model": model})
    others = replace(data, images=torch.zeros(2, *shape, dtype=torch.uint8))
    with pytest.raises(ConfigError, match=r"does not fit images of \d+ x \d+ x \d+ \(.*; choose"):
        try_out(config, others)


@pytest.mark.parametrize(("model", "fits"), [("cnn", True), ("fcnn", False), ("vcnn", False)])
def test_batches_of_one_are_refused_where_batch_norm_has_nothing_to_normalise(
    data: Dataset, model: str, fits: bool
) -> None:
    config = Config.parse({"model": model, "optim": {"batch": 1}})
    if fits:
        assert try_out(config, data)
    else:
        with pytest.raises(ConfigError, match=r"a larger optim\.batch"):
            try_out(config, data)
    try_out(Config.parse({"model": model, "optim": {"batch": 2}}), data)
