"""CDR: which weights learn, how much, and what of the rest."""

from typing import Any

import pytest
import torch
from standins import run_of
from torch import Tensor, nn
from toys import tiny

from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods.cdr import CDR, threshold

NO_BATCH: Any = None  # the method does not look at it
PLAIN = {"momentum": 0.0, "decay": 0.0, "schedule": "constant"}  # lr 0.05


def linear(weight: list[float], bias: float, gradient: list[float], push: float) -> nn.Linear:
    """One unit, with gradients."""
    layer = nn.Linear(len(weight), 1)
    layer.weight.data, layer.bias.data = torch.tensor([weight]), torch.tensor([bias])
    layer.weight.grad, layer.bias.grad = torch.tensor([gradient]), torch.tensor([push])
    return layer


def edited(method: CDR, layer: nn.Linear, **facts: Any) -> tuple[list[float], float]:
    """The gradients of weight and bias after the hook."""
    run = run_of(model=layer, **facts)
    method.start(run)
    method.grads(NO_BATCH, run)
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    return layer.weight.grad[0].tolist(), float(layer.bias.grad)


def layer() -> nn.Linear:
    """Scores 4, 3, 2, 1 of the weights, 5 of the bias."""
    return linear([4.0, -1.0, 2.0, 0.5], 1.0, [1.0, 3.0, -1.0, 2.0], 5.0)


# Which


@pytest.mark.parametrize("share", [1.0, 0.8, 0.6, 0.25, 0.2, 0.01])
@pytest.mark.parametrize("count", [1, 3, 10, 135, 61470])
def test_the_share_of_critical_weights(count: int, share: float) -> None:
    scores = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = int((scores >= threshold(scores, share)).sum())
    assert kept == max(1, int(round(share * count, 6)))


def test_ties_are_all_critical() -> None:
    scores = torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0])
    assert (scores >= threshold(scores, 0.4)).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("scores", [[0.0] * 5, [0.0, 0.0, 3.0, 0.0, 0.0]])
def test_where_too_few_scores_are_above_zero_all_weights_are_critical(scores: list[float]) -> None:
    assert float(threshold(torch.tensor(scores), 0.4)) == 0.0


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_scores_of_nothing_select_everything(rate: float) -> None:
    still = linear([0.0, 0.0, 0.0], 0.0, [1.0, 2.0, 3.0], 1.0)
    assert edited(CDR(rate, scale=1.0), still) == ([1.0, 2.0, 3.0], 1.0)


# How much


def test_gradients_by_hand() -> None:
    assert edited(CDR(0.5), layer()) == ([0.5, 1.5, 0.0, 0.0], 5.0)
    assert edited(CDR(0.5, scale=1.0), layer()) == ([1.0, 3.0, 0.0, 0.0], 5.0)
    assert edited(CDR(0.0, scale=0.5), layer()) == ([0.5, 1.5, -0.5, 1.0], 5.0)
    assert edited(CDR(0.0), layer()) == ([1.0, 3.0, -1.0, 2.0], 5.0)


def test_all_parameters_are_ranked_together_where_asked() -> None:
    # of five scores two stay: the bias's 5 and the first weight's 4
    assert edited(CDR(0.6, scale=1.0, scope="all"), layer()) == ([1.0, 0.0, 0.0, 0.0], 5.0)
    small = linear([4.0, -1.0, 2.0, 0.5], 0.1, [1.0, 3.0, -1.0, 2.0], 5.0)
    assert edited(CDR(0.4, scale=1.0, scope="all"), small) == ([1.0, 3.0, -1.0, 0.0], 0.0)


def test_ranks_go_over_all_layers_together() -> None:
    both = nn.Sequential(
        linear([10.0, 20.0], 0.0, [1.0, 1.0], 0.0), linear([1.0, 15.0], 0.0, [1.0, 1.0], 0.0)
    )
    run = run_of(model=both)
    method = CDR(0.5, scale=1.0)
    method.start(run)
    method.grads(NO_BATCH, run)
    masks = [part.weight.grad.tolist() for part in both]  # type: ignore[union-attr, operator]
    assert masks == [[[0.0, 1.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize(
    ("step", "weights"),
    [
        (0, [1.0, 3.0, -1.0, 2.0]),  # not yet
        (5, [0.75, 2.25, -0.75, 0.0]),  # half of the way to rate 0.5, scale 0.5
        (10, [0.5, 1.5, 0.0, 0.0]),
        (19, [0.5, 1.5, 0.0, 0.0]),
    ],
)
def test_a_gradual_start(step: int, weights: list[float]) -> None:
    assert edited(CDR(0.5, gradual=0.5), layer(), step=step) == (weights, 5.0)


# The decay


def test_l1_adds_a_sign_to_every_gradient_masked_or_not() -> None:
    given = edited(CDR(0.5, decay="l1"), layer(), decay=0.25)
    assert given == ([0.75, 1.25, 0.25, 0.25], 5.25)
    # also where nothing is masked
    assert edited(CDR(0.0, decay="l1"), layer(), decay=0.25)[0] == [1.25, 2.75, -0.75, 2.25]


@pytest.mark.parametrize(("kind", "applied"), [("l1", 0.0), ("l2", 0.01)])
def test_the_strength_of_the_decay_is_the_tasks(kind: str, applied: float, data: Dataset) -> None:
    loop = Loop(tiny({"cdr": {"decay": kind}}, optim={"decay": 0.01}), data)
    assert loop.decay == 0.01
    assert [group["weight_decay"] for group in loop.optimizer.param_groups] == [applied]


def ranked(loop: Loop) -> list[tuple[Tensor, Tensor]]:
    """The weights that are ranked, each with its mask in this step."""
    weights = [parameter for parameter in loop.parameters if parameter.dim() > 1]
    return [(weight, (weight.grad != 0)) for weight in weights if weight.grad is not None]


def advanced(data: Dataset, settings: dict[str, Any], **optim: Any) -> tuple[Loop, list[Tensor]]:
    """A loop after one step, and the parameters before it."""
    loop = Loop(tiny({"cdr": settings}, optim=PLAIN | optim), data)
    before = [parameter.detach().clone() for parameter in loop.parameters]
    loop.advance()
    return loop, before


def test_without_momentum_and_decay_other_weights_stay_where_they_are(data: Dataset) -> None:
    loop, before = advanced(data, {"rate": 0.7})
    moved = stayed = 0
    for parameter, old in zip(loop.parameters, before, strict=True):
        still = parameter == old
        if parameter.dim() == 1:
            assert not still.all()  # a bias, batch norm
            continue
        assert parameter.grad is not None
        assert still[parameter.grad == 0].all()
        moved, stayed = moved + int((~still).sum()), stayed + int(still.sum())
    assert moved / (moved + stayed) == pytest.approx(0.3, abs=0.001)


def test_momentum_moves_weights_that_were_critical_before(data: Dataset) -> None:
    loop = Loop(tiny({"cdr": {"rate": 0.7}}, optim=PLAIN | {"momentum": 0.9}), data)
    loop.advance()
    before = {id(weight): weight.detach().clone() for weight, _ in ranked(loop)}
    loop.advance()
    assert any((weight != before[id(weight)])[~mask].any() for weight, mask in ranked(loop))


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_other_weights_only_decay(kind: str, data: Dataset) -> None:
    # l1 stands in the gradient: what a step without it left at 0 is masked
    masked = [grad == 0 for grad in gradients(advanced(data, {"rate": 0.7})[0])]
    loop, before = advanced(data, {"rate": 0.7, "decay": kind}, decay=0.01)
    for parameter, old, mask in zip(loop.parameters, before, masked, strict=True):
        if parameter.dim() > 1:
            pull = old.sign() if kind == "l1" else old
            torch.testing.assert_close(parameter[mask], (old - 0.05 * 0.01 * pull)[mask])


def gradients(loop: Loop) -> list[Tensor]:
    return [parameter.grad for parameter in loop.parameters if parameter.grad is not None]


def test_criticality_is_of_the_loss_that_is_trained_on(data: Dataset) -> None:
    """Weights and other owners of the loss are in the gradient that is ranked."""
    masks = []
    for others in ({}, {"gce": {}}, {"random-weights": {}}):
        loop = Loop(tiny({"cdr": {"rate": 0.5}, **others}, optim=PLAIN), data)
        loop.advance()
        masks.append(torch.cat([mask.flatten() for _, mask in ranked(loop)]))
    assert masks[0].float().mean() == pytest.approx(0.5, abs=0.01)
    assert 0.01 < (masks[0] != masks[1]).float().mean() < 0.5
    assert 0.01 < (masks[0] != masks[2]).float().mean() < 0.5
