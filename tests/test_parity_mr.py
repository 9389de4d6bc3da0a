"""Multiplicative Reweighting against its authors' own numbers (tests/oracle/README.md)."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as hard_cross_entropy
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part, cross_entropy
from trainables.methods.base import Method
from trainables.methods.chain import Chain
from trainables.methods.mixup import mixed
from trainables.methods.mr import MR, weights
from trainables.methods.smooth import Smooth
from trainables.schedule import Step

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "mr.npz"))
N, B, C = (int(ORACLE[key]) for key in "NBC")
LABELS = torch.from_numpy(ORACLE["labels"])
EPOCHS, BATCHES = 6, 3
SMOOTHING = 0.1  # the default of their code, used in every `ls` case

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
close32 = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
UPDATES = sorted({key.split("__")[0] for key in ORACLE if key.startswith("wu_") and "__eta" in key})


def of(case: str) -> dict[str, Any]:
    """The quantities of one case; arrays as tensors."""
    found = {k.split("__")[1]: v for k, v in ORACLE.items() if k.split("__")[0] == case}
    return {key: torch.from_numpy(v) if v.ndim else v.item() for key, v in found.items()}


def fake(losses: Any = None) -> Any:
    """What MR sees of a run of six epochs."""
    return SimpleNamespace(
        size=N,
        device=torch.device("cpu"),
        steps=EPOCHS * BATCHES,
        steps_per_epoch=BATCHES,
        step=0,
        losses=losses,
    )


def shares(milestones: Any) -> tuple[float, ...]:
    """Their 1-based epochs as shares of the training; those after its end never come."""
    return tuple(int(m) / EPOCHS for m in milestones if m <= EPOCHS)


def eta_of(method: MR) -> float:
    """The eta that uncapped weights were made with."""
    weight, total = method.weight, method.total
    return float((weight.max() - weight.min()) / (total.max() - total.min()))


def updates(rows: Tensor, **settings: Any) -> list[tuple[Tensor, Tensor, float]]:
    """Lambda, weights and eta after each epoch whose losses are the rows."""
    run = fake()
    method = MR(period=1.0, **settings)
    method.start(run)
    seen = []
    for epoch, row in enumerate(rows):
        run.losses = lambda mode, row=row: row
        run.step = (epoch + 1) * BATCHES - 1
        method.epoch(run)
        seen.append((method.total.clone(), method.weight.exp(), eta_of(method)))
    return seen


def test_the_loss_pass_is_plain_cross_entropy() -> None:
    for logits, loss in zip(ORACLE["wu_logits"], ORACLE["wu_loss"], strict=True):
        given = hard_cross_entropy(torch.from_numpy(logits), LABELS, reduction="none")
        close(given, loss)


@pytest.mark.parametrize("projection", ["one-sweep", "exact"])
@pytest.mark.parametrize("case", UPDATES)
def test_weights_over_epochs(case: str, projection: Any) -> None:
    theirs = of(case)
    capped = theirs["max_weight"] < 1
    settings = {
        "eta": theirs["eta"],
        "gamma": theirs["gamma_mr"],
        "milestones": shares(theirs["milestones"]),
    }
    rows = torch.from_numpy(ORACLE["wu_loss"])
    free = updates(rows, **settings)
    held = updates(rows, **settings, max_weight=theirs["max_weight"], projection=projection)
    # left out for the cases whose eta is that of const: there it is the same
    shared = of("wu_const") | theirs
    expected = theirs["w_exact"] if capped and projection == "exact" else theirs["w"]
    for epoch in range(EPOCHS):
        total, before, eta = free[epoch]
        close(total, shared["Lambda"][epoch])
        close(before, shared["w_preproj"][epoch])
        close(eta, theirs["eta_used"][epoch])
        close(held[epoch][0], shared["Lambda"][epoch])
        close(held[epoch][1], expected[epoch])
        assert torch.allclose(held[epoch][1], before) != bool(theirs["sweeps"][epoch])


def test_weights_of_their_native_float32() -> None:
    theirs, settings = of("wu_native32_cap_0.8"), of("wu_cap_0.8")
    eta, max_weight = settings["eta"], settings["max_weight"]
    free = updates(theirs["loss"], eta=eta)
    held = updates(theirs["loss"], eta=eta, max_weight=max_weight, projection="one-sweep")
    for epoch in range(EPOCHS):
        close32(free[epoch][0], theirs["Lambda"][epoch])
        close32(free[epoch][1], theirs["w_preproj"][epoch])
        close32(held[epoch][1], theirs["w"][epoch])


@pytest.mark.parametrize("setting", range(6))
def test_projections_of_random_weights(setting: int) -> None:
    max_weight = float(ORACLE["proj_max_weight"][setting])
    close(1 / (max_weight * N), ORACLE["proj_cap"][setting])
    for i, given in enumerate(ORACLE["proj_in"]):
        # losses whose weights are the given ones at eta = 1
        rows = -torch.from_numpy(given).log()[None]
        sweep, exact = (
            updates(rows, eta=1.0, max_weight=max_weight, projection=name)[0][1]
            for name in ("one-sweep", "exact")
        )
        close(sweep, ORACLE["proj_out"][setting, i])
        close(sweep.sum(), ORACLE["proj_out_sum"][setting, i])
        close(exact, ORACLE["proj_exact"][setting, i])
        assert np.allclose(sweep, given) != bool(ORACLE["proj_sweeps"][setting, i])


def batches(order: Any) -> list[Tensor]:
    return list(torch.as_tensor(order).split(B))


def chain_of(case: str, **settings: Any) -> Chain:
    methods: dict[str, Method] = {} if case == "e2e_none" else {"mr": MR(**settings)}
    return Chain(methods | ({"smooth": Smooth(SMOOTHING)} if "_ls" in case else {}))


def weighted(chain: Chain, x: Tensor, index: Tensor, run: Any) -> Batch:
    y = one_hot(LABELS[index], C).to(x.dtype)
    return chain.batch(Batch(x, y, LABELS[index], index, (Part(index, LABELS[index], 1.0),)), run)


@pytest.mark.parametrize("case", ["bl_plain", "bl_ls", "bl_mixup", "bl_ls_mixup"])
def test_losses_of_one_epoch(case: str) -> None:
    theirs, run, chain = of(case), fake(), chain_of(case)
    chain.start(run)
    mr = chain.methods["mr"]
    assert isinstance(mr, MR)
    uniform = []
    for index in batches(ORACLE["bl_order"]):
        batch = weighted(chain, torch.zeros(len(index), C, dtype=torch.float64), index, run)
        uniform.append(float(cross_entropy(batch.x, batch.y)))
    close(uniform, theirs["loss_uniform_epoch1"])

    mr.weight.copy_(torch.from_numpy(ORACLE["bl_weights"]).log())
    begin = 0
    for i, index in enumerate(batches(ORACLE["bl_order"])):
        rows = slice(begin, begin := begin + len(index))
        logits = torch.from_numpy(ORACLE["bl_logits"])[rows].clone().requires_grad_()
        batch = weighted(chain, logits.detach(), index, run)
        scale = mr.weight[index].max().exp()  # ours are relative to the batch's heaviest
        weight = batch.y.sum(-1) * scale
        close(weight, theirs["batch_weights"][rows])
        if "mixup" in case:
            partner = theirs["perm"][rows]
            close(weight[partner], theirs["batch_weights_permuted"][rows])
            batch = mixed(batch, float(theirs["lam"][i]), partner)
        close(batch.y.sum() * scale, theirs["batch_weight_sum"][i])
        loss = cross_entropy(logits, batch.y)
        (gradient,) = torch.autograd.grad(loss, logits)
        close(loss.detach(), theirs["loss"][i])
        close(gradient, theirs["dlogits"][rows])


E2E = ["plain", "cap", "ls", "mixup", "ls_mixup_cap", "none", "cap_exact", "ls_mixup_cap_exact"]


@pytest.mark.parametrize("case", E2E)
def test_six_epochs_of_a_linear_model(case: str) -> None:
    theirs = of(f"e2e_{case}")
    common = {key[4:]: v for key, v in ORACLE.items() if key.startswith("e2e_") and "__" not in key}
    x = torch.from_numpy(common["x"])
    model = nn.Linear(6, C).double()
    model.load_state_dict(
        {"weight": torch.from_numpy(common["W0"]), "bias": torch.from_numpy(common["b0"])}
    )
    optimizer = torch.optim.SGD(
        model.parameters(),
        momentum=common["momentum"].item(),
        weight_decay=common["weight_decay"].item(),
    )
    schedule = Step(shares(common["lr_milestones"]), common["gamma"].item())
    chain = chain_of(
        f"e2e_{case}",
        eta=common["mr_eta"].item(),
        gamma=common["gamma_mr"].item(),
        milestones=shares(common["mr_milestones"]),
        max_weight=theirs["max_weight"],
        projection="exact" if case.endswith("exact") else "one-sweep",
    )

    def losses(mode: str = "eval") -> Tensor:
        with torch.no_grad():
            return hard_cross_entropy(model(x), LABELS, reduction="none")

    run = fake(losses)
    chain.start(run)
    for epoch, order in enumerate(common["order"]):
        for i, index in enumerate(batches(order)):
            run.step = epoch * BATCHES + i
            batch = weighted(chain, x[index], index, run)
            if "mixup" in case:
                partner = theirs["perm"][epoch].split(B)[i]
                batch = mixed(batch, float(theirs["lam"][epoch, i]), partner)
            loss = cross_entropy(model(batch.x), batch.y)
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = common["lr"].item() * schedule(run.step / run.steps)
            optimizer.step()
            chain.step(batch, run)
            close(loss.detach(), theirs["batch_loss"][epoch, i])
        chain.epoch(run)
        close(model.weight.detach(), theirs["W"][epoch])
        close(model.bias.detach(), theirs["b"][epoch])
        close(losses(), theirs["loss"][epoch])
        mr = chain.methods.get("mr")
        if mr is None:
            continue
        assert isinstance(mr, MR)
        close(mr.total, theirs["Lambda"][epoch])
        close(mr.weight.exp(), theirs["w"][epoch])
        if mr.max_weight == 1:
            close(eta_of(mr), theirs["eta_used"][epoch])
        elif "w_preproj" in theirs:
            free = weights(mr.total, float(theirs["eta_used"][epoch]))
            close(free.exp(), theirs["w_preproj"][epoch])
