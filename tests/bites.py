"""For every method: settings that make it act at once, and for every field a move that must tell.

The contracts read this table and know no method by name: a new method brings its entries here.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bite:
    """A field's value that trains other weights than the live settings do.

    Attributes:
        value: of the field, moved.
        base: settings on top of the live ones, in both runs.
        others: further methods of the chain, with their settings, in both runs.
    """

    value: Any
    base: dict[str, Any] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)


LIVE: dict[str, dict[str, Any]] = {
    "mr": {"eta": 0.5, "period": 0.3},
    "smooth": {"rate": 0.2},
    "sop": {"init": 0.1},  # from 1e-8 u and v need more visits than a short run has
    "sop-plus": {"init": 0.1},
    "gce": {},
    "sce": {},
    "mae": {},
    "elr": {},
    "aux": {},
    "mixup": {"alpha": 0.5},
    "random-weights": {},
    "cdr": {"rate": 0.4},
    "rdi": {},
    "reset": {"r": 0.5, "every": 0.2, "patience": 0.15, "lr_on_reset": "checkpoint"},
}
BITES: dict[str, dict[str, Bite]] = {
    "mr": {
        "eta": Bite(0.1),
        "period": Bite(0.5),
        "max_weight": Bite(0.8),
        "projection": Bite("one-sweep", base={"max_weight": 0.9}),
        "losses": Bite("train"),
        "gamma": Bite(0.1, base={"milestones": [0.2]}),
        "milestones": Bite([0.6], base={"gamma": 0.1, "milestones": [0.2]}),
    },
    "smooth": {"rate": Bite(0.1), "spread": Bite("all")},
    "sop": {
        "lr_u": Bite(2.0),
        "lr_v": Bite(100.0),
        "init": Bite(0.2),
        "project": Bite(False, base={"lr_u": 500.0, "init": 0.9}),
    },
    "sop-plus": {
        "lr_u": Bite(2.0),
        "lr_v": Bite(100.0),
        "consistency": Bite(0.5),
        "balance": Bite(0.5),
        "init": Bite(0.2),
        "project": Bite(False, base={"lr_u": 500.0, "init": 0.9}),
    },
    "gce": {"q": Bite(0.3)},
    "sce": {"alpha": Bite(1.0), "beta": Bite(0.3)},
    "mae": {},
    "elr": {"lambda": Bite(1.0), "beta": Bite(0.3)},
    "aux": {
        "lambda": Bite(2.0),
        "schedule": Bite("rise"),
        "ratio": Bite(3.0),
        "fit": Bite("mse"),
    },
    "mixup": {"alpha": Bite(2.0)},
    "random-weights": {},
    "cdr": {
        "rate": Bite(0.1),
        "scale": Bite(0.9),
        "decay": Bite("l1"),
        "scope": Bite("all"),
        "gradual": Bite(0.9),
    },
    "rdi": {
        "lambda": Bite(3.0),
        "scope": Bite("weights"),
        "masked": Bite(True, others={"cdr": {"rate": 0.4}}),
    },
    "reset": {
        "r": Bite(0.1),
        "patience": Bite(0.9),
        "warmup": Bite(0.9),
        "adaptive": Bite(False),
        "opt_reset": Bite(False),
        "lr_on_reset": Bite("continue"),
        "restore_rows": Bite(False, others={"follower": {}}),
        "best": Bite("acc"),
        "every": Bite(0.4),
    },
}
