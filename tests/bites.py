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
    "mixup": {"alpha": 0.5},
    "random-weights": {},
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
    "mixup": {"alpha": Bite(2.0)},
    "random-weights": {},
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
