"""SOP and SOP+ against their authors' own numbers (tests/oracle/README.md)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part
from trainables.methods.overparametrization import QUOTED_AT
from trainables.methods.sop import SOP
from trainables.methods.sop_plus import SOPPlus

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "sop.npz"))
N, K = int(ORACLE["N"]), int(ORACLE["K"])
CASES = sorted({key.split("__")[0] for key in ORACLE if "__" in key})
INCLUSIVE = "edge_one_inclusive"  # the gradient rule of torch <= 2.13, which lets a 1 move
PLUS = [case for case in CASES if "plus" in case]
PLAIN = [case for case in CASES if case not in (*PLUS, INCLUSIVE)]


def of(case: str) -> dict[str, Any]:
    """The quantities of one case; arrays as tensors."""
    found = {k.split("__")[1]: v for k, v in ORACLE.items() if k.split("__")[0] == case}
    return {key: torch.from_numpy(v) if v.ndim else v.item() for key, v in found.items()}


def close(case: str, given: Tensor, theirs: Any) -> None:
    rtol, atol = (1e-4, 1e-6) if case.endswith("32") else (1e-9, 1e-12)
    atol = 1e-22 if case == "seq_init" else atol  # its variables are as small as 1e-10
    np.testing.assert_allclose(given.detach(), theirs, rtol=rtol, atol=atol)


def followed(method: SOP | SOPPlus, case: str, theirs: dict[str, Any]) -> None:
    """Drive the method's hooks through the steps of a case and compare all that comes out."""
    steps, rows = theirs["labels"].shape
    run: Any = SimpleNamespace(
        size=N,
        classes=K,
        device=torch.device("cpu"),
        labels=torch.zeros(N, dtype=torch.long),
        stream=lambda name: torch.Generator().manual_seed(0),
    )
    method.start(run)
    held = method.variables
    held.pair = torch.cat([theirs["u_before"][0], theirs["v_before"][0]], 1)
    for step in range(steps):
        label, index = theirs["labels"][step], theirs["index"][step]
        views = ["logits", "logits_strong"] if "logits_strong" in theirs else ["logits"]
        logits = [theirs[view][step].clone().requires_grad_() for view in views]
        y = one_hot(label, K).to(logits[0].dtype)
        batch = Batch(torch.zeros(rows, 1, 2, 2), y, label, index, (Part(index, label, 1.0),))
        u, v = held.u.clone(), held.v.clone()
        loss = method.loss(torch.stack(logits) if len(logits) > 1 else logits[0], batch, run)
        close(case, loss, theirs["loss"][step])
        for view, gradient in zip(views, torch.autograd.grad(loss, logits), strict=True):
            close(case, gradient, theirs[f"d{view}"][step])
        method.step(batch, run)
        close(case, held.u, theirs["u_after"][step])
        close(case, held.v, theirs["v_after"][step])
        close(case, (u - held.u) / theirs["lr_u"], theirs["du"][step])
        close(case, (v - held.v) / theirs["lr_v"], theirs["dv"][step])


def rates(theirs: dict[str, Any]) -> dict[str, float]:
    """Their steps on the batch's mean, quoted as ours are."""
    rows = theirs["labels"].shape[1]
    return {key: theirs[key] * QUOTED_AT / rows for key in ("lr_u", "lr_v")}


@pytest.mark.parametrize("case", PLAIN)
def test_sop(case: str) -> None:
    theirs = of(case)
    followed(SOP(**rates(theirs), project=False), case, theirs)


# without its terms SOP+ is SOP
@pytest.mark.parametrize("case", [*PLUS, "generic", "dup"])
def test_sop_plus(case: str) -> None:
    theirs = of(case)
    consistency, balance = theirs["ratio_consistency"], theirs["ratio_balance"]
    assert (consistency > 0) == ("logits_strong" in theirs)
    method = SOPPlus(**rates(theirs), consistency=consistency, balance=balance, project=False)
    followed(method, case, theirs)


def test_projected_variables_move_at_one() -> None:
    """There ours follows the older rule, whatever this torch's `clamp` does, and then projects."""
    theirs = of(INCLUSIVE)
    beyond = theirs["u_before"].abs().amax(), theirs["v_before"].abs().amax()
    assert beyond == (1, 1)  # so that the cut changes nothing but the rule
    visited = theirs["index"].unique()
    for key in ("u_after", "v_after"):
        theirs[key][:, visited] = theirs[key][:, visited].clamp(-1, 1)
    theirs["du"] = (theirs["u_before"] - theirs["u_after"]) / theirs["lr_u"]
    theirs["dv"] = (theirs["v_before"] - theirs["v_after"]) / theirs["lr_v"]
    followed(SOP(**rates(theirs), project=True), INCLUSIVE, theirs)


def test_every_case_is_compared() -> None:
    assert {*PLAIN, *PLUS, INCLUSIVE} == set(CASES)
    assert len(CASES) == 16
    assert not {"seq", "seq_init", "saturated", "py_small_v", "edge_one"} - set(PLAIN)
