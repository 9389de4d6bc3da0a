"""Annotated numbers: the bounds of every hyperparameter, written once, beside its name.

They are plain `annotated_types` marks, so that a method needs no validation library; `config`
turns them into checks. No bound admits NaN or infinity.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Unit = Annotated[float, Ge(0), Le(1)]  # a probability or a share, both ends included
Fraction = Annotated[float, Gt(0), Le(1)]  # a share that may not be nothing
Below1 = Annotated[float, Ge(0), Lt(1)]  # momentum, dropout: 1 would never decay or keep nothing
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
