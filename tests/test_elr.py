"""ELR: what its memory holds, whose it is, and what the loss makes of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from standins import K, batch_of, logits_of, run_of, stepped
from torch import Tensor
from torch.nn.functional import cross_entropy
from toys import finish, tiny

from trainables.data.batch import Batch
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods.auxiliary import Aux
from trainables.methods.base import Method
from trainables.methods.elr import ELR, held, regularised
from trainables.methods.mixup import mixed

EVEN = torch.zeros(1, K)  # probability 1/3 each


def started(run: Any, **settings: Any) -> ELR:
    method = ELR(**settings)
    method.start(run)
    return method


def sure(label: int) -> Tensor:
    """(1, K) logits of 1/2 for the label and 1/4 for each other."""
    logits = torch.zeros(1, K)
    logits[0, label] = torch.tensor(2.0).log()
    return logits


# The memory


def test_the_memory_by_hand() -> None:
    run = run_of()
    method = started(run, beta=0.75)
    stepped(method, sure(1), batch_of([3]), run)
    torch.testing.assert_close(method.target[3], torch.tensor([0.0625, 0.125, 0.0625]))
    stepped(method, sure(2), batch_of([3]), run)
    # 3/4 of it and 1/4 of (1/4, 1/4, 1/2)
    expected = torch.tensor([0.109375, 0.15625, 0.171875])
    torch.testing.assert_close(method.target[3], expected)
    assert not method.target[[0, 1, 2, 4]].any()


def test_it_is_used_with_this_steps_prediction_in_it() -> None:
    run = run_of()
    method = started(run, lambda_=2.0, beta=0.75)
    method.target[0] = torch.tensor([0.2, 0.2, 0.4])
    loss, _ = stepped(method, EVEN, batch_of([0]), run)
    # 3/4 x 0.8 / 3 + 1/4 x 1/3
    agreed = torch.tensor(0.6 / 3 + 0.25 / 3)
    expected = torch.tensor(3.0).log() + 2 * (1 - agreed).log()
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_probabilities_enter_it_cut_and_normalised() -> None:
    given = held(torch.tensor([[0.0, 1000.0, 0.0]]))
    torch.testing.assert_close(given, torch.tensor([[1e-4, 0.9999, 1e-4]]) / 1.0001)
    assert held(logits_of(4)).sum(-1).tolist() == pytest.approx([1] * 4)


def test_no_gradient_passes_through_the_memory() -> None:
    run, logits = run_of(), sure(1)
    loss, slope = stepped(started(run, beta=0.25), logits, batch_of([0]), run)
    target = 0.75 * held(logits)
    outputs = logits.clone().requires_grad_()
    fixed = regularised(outputs, batch_of([0]).y, target, 3.0).sum()
    (expected,) = torch.autograd.grad(fixed, outputs)
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(loss, fixed.detach())


def test_weights_do_not_reach_it() -> None:
    memories = []
    for weight in ([1.0] * 3, [5.0, 1e-3, 0.0]):
        run = run_of()
        method = started(run)
        stepped(method, logits_of(3), batch_of([0, 1, 2], weight), run)
        memories.append(method.target)
    assert torch.equal(*memories)
    assert memories[0].any(1).sum() == 3


def test_a_mixed_example_moves_its_parts_by_their_shares() -> None:
    run = run_of()
    method = started(run, beta=0.5)
    method.target += held(logits_of(5, seed=3))
    before = method.target.clone()
    batch = mixed(batch_of([0, 3]), 0.75, torch.tensor([1, 0]))
    loss, _ = stepped(method, logits_of(2), batch, run)
    now = held(logits_of(2))
    moves = 0.375 * (now - before[[0, 3]]) + 0.125 * (now[[1, 0]] - before[[0, 3]])
    torch.testing.assert_close(method.target[[0, 3]], before[[0, 3]] + moves)
    assert torch.equal(method.target[[1, 2, 4]], before[[1, 2, 4]])
    both = 0.75 * before[[0, 3]] + 0.25 * before[[3, 0]]
    each = regularised(logits_of(2), batch.y, 0.5 * both + 0.5 * now, 3.0)
    assert loss == pytest.approx(float(each.mean()), rel=1e-5)


def test_the_memory_is_of_the_network_whatever_moves_its_logits(data: Dataset) -> None:
    """Else AUX, which follows wrong labels in the network's place, would teach them to it."""
    loop = Loop(tiny({"elr": {}, "aux": {"lambda": 30.0}}), data)
    method, aux = loop.chain.methods["elr"], loop.chain.methods["aux"]
    assert isinstance(method, ELR)
    assert isinstance(aux, Aux)
    aux.b.normal_()
    seen: list[Any] = []
    hooks = loop.chain.logits

    def watched(logits: Tensor, batch: Batch, run: Any) -> Tensor:
        seen.extend((batch.index, logits.detach().clone()))
        return hooks(logits, batch, run)

    loop.chain.logits = watched  # type: ignore[method-assign]
    loop.advance()
    index, logits = seen
    torch.testing.assert_close(method.target[index], 0.3 * held(logits))


def test_the_memory_lives_through_the_training(data: Dataset) -> None:
    """Each visit adds (1 - beta) of the probability that is missing to 1."""
    loop = Loop(tiny({"elr": {"beta": 0.5}}, epochs=3), data)
    method = loop.chain.methods["elr"]
    assert isinstance(method, ELR)
    for mass in (0.5, 0.75, 0.875):
        loop.train()
        torch.testing.assert_close(method.target.sum(1), torch.full((300,), mass))


# The loss


def test_without_strength_it_is_cross_entropy() -> None:
    logits, batch = logits_of(4), batch_of([0, 1, 2, 3], [1.0, 0.0, 2.0, 1.0])
    run = run_of()
    ours = stepped(started(run, lambda_=0.0), logits, batch, run)
    plain = stepped(Method(), logits, batch, run)
    torch.testing.assert_close(ours, plain)


def test_it_lowers_the_loss_of_who_keeps_predicting_the_same() -> None:
    run, label = run_of(), 0
    losses = []
    method = started(run)
    for _ in range(30):
        losses.append(float(stepped(method, sure(1), batch_of([label]), run)[0]))
    assert losses == sorted(losses, reverse=True)
    # in the end t = p: log(1 - |p|^2) = log(1 - 3/8)
    nats = float(cross_entropy(sure(1), torch.tensor([label])))
    final = nats + 3 * float(torch.tensor(0.625).log())
    assert losses[-1] == pytest.approx(final, abs=1e-3)


def test_a_remembered_class_is_pulled_at_against_the_label() -> None:
    """Where t holds another class with certainty, its probability is pushed up, not down."""
    run = run_of()
    method = started(run)
    method.target[0] = torch.tensor([0.01, 0.98, 0.01])
    logits = torch.tensor([[0.0, 3.0, 0.0]])
    slope = stepped(method, logits, batch_of([0]), run)[1]
    plain = stepped(Method(), logits, batch_of([0]), run)[1]
    assert plain[0, 1] > 0 > slope[0, 1]


# What it thinks of the labels


def test_suspicion_is_what_the_memory_gives_to_other_classes() -> None:
    run = run_of()  # labels 0, 1, 2, 0, 1
    method = started(run, beta=0.5)
    assert method.suspicion().tolist() == [0] * 5
    assert method.rows()["corrected"].tolist()[0] == 0
    stepped(method, torch.cat((sure(1), sure(1))), batch_of([0, 1]), run)
    assert method.suspicion().tolist() == pytest.approx([0.375, 0.25, 0, 0, 0])
    assert method.rows()["corrected"].tolist()[:2] == [1.0, 0.0]


def test_wrong_labels_are_distrusted_more(data: Dataset) -> None:
    calm = replace(data, train=data.train[:200])
    loop = Loop(tiny({"elr": {}}, epochs=10), calm)
    report = finish(loop)[-1]
    assert report["elr/wrong/auc"] > 0.8
    assert report["elr/wrong/top1"] > report["elr/wrong/top50"]
    assert report["elr/corrected/wrong"] > report["elr/corrected/right"]
