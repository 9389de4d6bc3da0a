"""What training does to right and to wrong labels, where the truth is known.

Methods never see the truth, and no number made here can be selected on.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SHARES = (1, 10, 25, 50)  # percent of the examples, the most distrusted ones


def auc(suspicion: Tensor, wrong: Tensor) -> float:
    """Chance that a wrong label is distrusted more than a right one; ties count half.

    Args:
        suspicion: (N,) more is worse.
        wrong: (N,) bool; some true and some false.

    >>> auc(torch.tensor([0.0, 1.0, 1.0, 2.0]), torch.tensor([False, False, True, True]))
    0.875
    """
    values, place = torch.unique(suspicion, return_inverse=True)
    bad = torch.bincount(place[wrong], minlength=len(values)).double()
    good = torch.bincount(place[~wrong], minlength=len(values)).double()
    below = good.cumsum(0) - good
    return float((bad * (below + good / 2)).sum() / (bad.sum() * good.sum()))


def wrong_on_top(suspicion: Tensor, wrong: Tensor) -> dict[str, float]:
    """Share of wrong labels among the most distrusted percents of the examples, at least one.

    >>> wrong_on_top(torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([True, False, True, False]))
    {'top1': 1.0, 'top10': 1.0, 'top25': 1.0, 'top50': 0.5}
    """
    found = wrong[suspicion.argsort(descending=True, stable=True)].double()
    counts = {share: max(1, len(found) * share // 100) for share in SHARES}
    return {f"top{share}": float(found[:count].mean()) for share, count in counts.items()}


def told(
    suspicions: Mapping[str, Tensor], rows: Mapping[str, Tensor], wrong: Tensor
) -> dict[str, float]:
    """What is plotted of methods that hold something for each example.

    Args:
        suspicions: (N,) by method.
        rows: (N,) by `method/name`.
        wrong: (N,) bool; some true and some false.

    Returns:
        `<method>/wrong/auc` and `<method>/wrong/top10` of each suspicion, `<method>/<name>/wrong`
        and `<method>/<name>/right`, the means over wrong and right labels, of each of the rows.
    """
    found: dict[str, float] = {}
    for name, suspicion in suspicions.items():
        numbers = {"auc": auc(suspicion, wrong), **wrong_on_top(suspicion, wrong)}
        found |= {f"{name}/wrong/{key}": value for key, value in numbers.items()}
    for name, value in rows.items():
        found[f"{name}/wrong"] = float(value[wrong].double().mean())
        found[f"{name}/right"] = float(value[~wrong].double().mean())
    return found
