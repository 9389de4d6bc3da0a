"""RDI: the pull to the start, by hand, in the loop, and beside CDR's mask."""

from typing import Any

import pytest
import torch
from standins import run_of
from torch import Tensor, nn
from toys import finish, tiny

from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.rdi import RDI, strength

NO_BATCH: Any = None  # the method does not look at it
PLAIN = {"momentum": 0.0, "schedule": "constant"}  # lr 0.05; the decay is the task's


@pytest.mark.parametrize(
    ("lambda_", "size", "expected"), [(10.0, 1000, 0.1), (3.0, 9, 1.0), (0.0, 5, 0.0)]
)
def test_strength_by_hand(lambda_: float, size: int, expected: float) -> None:
    assert strength(lambda_, size) == expected


def moved(method: RDI) -> tuple[nn.Linear, Any]:
    """A layer that has moved by 1, 2 in its weights and by 4 in its bias; lambda^2 / N is 2."""
    layer = nn.Linear(2, 1)
    run = run_of(model=layer, size=8)
    method.start(run)
    with torch.no_grad():
        layer.weight += torch.tensor([[1.0, 2.0]])
        layer.bias += 4
    return layer, run


@pytest.mark.parametrize(("scope", "bias"), [("all", 8.0), ("weights", 0.0)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_pull_by_hand(scope: Any, bias: float, masked: bool) -> None:
    """2 x the way gone, as an edit of the gradient or as the gradient of a term."""
    method = RDI(4.0, scope=scope, masked=masked)
    layer, run = moved(method)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    term = method.penalty(run)
    assert (term is not None) == masked
    if term is not None:
        # lambda^2 / (2 N) x (1 + 4 [+ 16])
        assert term.item() == pytest.approx(21.0 if bias else 5.0)
        term.backward()  # type: ignore[no-untyped-call]
    method.grads(NO_BATCH, run)
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[2.0, 4.0]]))
    torch.testing.assert_close(layer.bias.grad, torch.tensor([bias]))
    root = 21 if bias else 5
    assert method.metrics() == {"distance": pytest.approx(root**0.5)}


@pytest.mark.parametrize("masked", [False, True])
def test_it_takes_the_place_of_the_tasks_decay(masked: bool, data: Dataset) -> None:
    loops = [
        Loop(tiny({"rdi": {"masked": masked}}, optim={"decay": decay}), data)
        for decay in (0.0, 0.1)
    ]
    assert [group["weight_decay"] for group in loops[1].optimizer.param_groups] == [0.0]
    for loop in loops:
        finish(loop)
    pairs = zip(*(loop.parameters for loop in loops), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("masked", [False, True])
def test_a_strong_pull_keeps_the_network_where_it_began(masked: bool, data: Dataset) -> None:
    # lambda^2 / N = 3 at lr 0.05
    settings = [{"lambda": 30.0, "masked": masked}, {"lambda": 0.0}]
    loops = [Loop(tiny({"rdi": given}, optim=PLAIN), data) for given in settings]
    start = [parameter.detach().clone() for parameter in loops[0].parameters]
    near, far = (finish(loop)[-1]["rdi/distance"] for loop in loops)
    assert 0 < near < 0.7 * far
    ways = zip(loops[0].parameters, start, strict=True)
    gone = sum(float((p.detach() - p0).square().sum()) for p, p0 in ways) ** 0.5
    assert near == pytest.approx(gone, rel=1e-5)


def advanced(data: Dataset, methods: dict[str, Any]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Weights before and after the third step, and where they started."""
    loop = Loop(tiny(methods, optim=PLAIN), data)
    weights = [parameter for parameter in loop.parameters if parameter.dim() > 1]
    start = [weight.detach().clone() for weight in weights]
    loop.advance()
    loop.advance()
    before = [weight.detach().clone() for weight in weights]
    loop.advance()
    after = [weight.detach().clone() for weight in weights]
    return list(zip(before, after, start, strict=True))


def test_beside_cdr_the_pull_is_on_every_parameter(data: Dataset) -> None:
    names = list(METHODS)
    assert names.index("cdr") < names.index("rdi")
    cdr, pull = {"rate": 0.5}, 30.0**2 / 300
    stayed = 0
    for before, after, start in advanced(data, {"cdr": cdr, "rdi": {"lambda": 30.0}}):
        alone = before - 0.05 * pull * (before - start)
        only_pulled = torch.isclose(after, alone, rtol=0, atol=1e-7)
        stayed += int(only_pulled.sum())
    total = sum(before.numel() for before, _, _ in advanced(data, {}))
    assert stayed / total == pytest.approx(0.5, abs=0.02)


def test_a_masked_pull_is_masked_by_cdr(data: Dataset) -> None:
    settings = {"cdr": {"rate": 0.5}, "rdi": {"lambda": 30.0, "masked": True}}
    found = advanced(data, settings)
    total = sum(before.numel() for before, _, _ in found)
    still = sum(int((before == after).sum()) for before, after, _ in found)
    assert still / total == pytest.approx(0.5, abs=0.02)
    # without a mask only the weights of dead units and of black corners stay
    plain = advanced(data, {"rdi": {"lambda": 30.0, "masked": True}})
    assert sum(int((before == after).sum()) for before, after, _ in plain) < 0.1 * total
