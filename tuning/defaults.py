"""The fields a config knows, and what stands where nobody writes anything."""

from collections.abc import Sequence
from typing import Any

from trainables.config import TASK_KEYS, Config, schema
from trainables.methods import METHODS
from tuning.leaves import PICKS, Leaves, Place, leaves_of


def task_defaults() -> Leaves:
    """Every field of the task with its default."""
    plain = Config().plain
    return leaves_of({key: plain[key] for key in TASK_KEYS}, "")


def defaults(methods: Sequence[str]) -> dict[Place, Any]:
    """The default of every field a chain of these methods knows, options of names included."""
    found = {place: leaf.value for place, leaf in task_defaults().items()}
    owners: dict[Place, type] = {("methods", name): METHODS[name] for name in methods}
    for pick, table in PICKS.items():
        owners |= {(*pick, name): cls for name, cls in table.items()}
    for place, cls in owners.items():
        for name, field in schema(cls).model_fields.items():
            if not field.is_required():
                found[*place, name] = field.default
    return found
