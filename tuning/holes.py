"""The open hyperparameters of a space, as searchers see them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Uniform:
    """A number in [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class Log:
    """A number in [low, high], uniform in its logarithm."""

    low: float
    high: float


@dataclass(frozen=True)
class Int:
    """A whole number from low to high, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class Option:
    """One option of a choice, with the holes that choosing it opens."""

    value: Value
    holes: tuple["Hole", ...] = ()


@dataclass(frozen=True)
class Choice:
    """One of several options."""

    options: tuple[Option, ...]


Domain = Uniform | Log | Int | Choice


@dataclass(frozen=True)
class Hole:
    """An open hyperparameter; `column` is its name in tables, such as `mr/eta`."""

    column: str
    domain: Domain


def fill(holes: Sequence[Hole], ask: Callable[[Hole], Value]) -> dict[str, Value]:
    """Ask for a value of every hole in order, and of those that a chosen option opens.

    >>> inner = Hole("schedule/step/factor", Uniform(0.1, 0.5))
    >>> hole = Hole("schedule", Choice((Option("cosine"), Option("step", (inner,)))))
    >>> fill([hole], lambda hole: "step" if hole.column == "schedule" else 0.2)
    {'schedule': 'step', 'schedule/step/factor': 0.2}
    """
    values: dict[str, Value] = {}
    for hole in holes:
        values[hole.column] = value = ask(hole)
        if isinstance(hole.domain, Choice):
            values |= fill(option_of(hole.domain, value).holes, ask)
    return values


def walk(holes: Sequence[Hole]) -> Iterator[Hole]:
    """Every hole, open or not, each choice before the holes of its options."""
    for hole in holes:
        yield hole
        if isinstance(hole.domain, Choice):
            for option in hole.domain.options:
                yield from walk(option.holes)


def position(choice: Choice, value: Value) -> int:
    """Where the option of a value stands; 1, 1.0 and True are three different ones.

    Raises:
        ValueError: the choice has no such option.
    """
    for number, option in enumerate(choice.options):
        if type(option.value) is type(value) and option.value == value:
            return number
    raise ValueError(f"{value!r} is no option")


def option_of(choice: Choice, value: Value) -> Option:
    """The option of a value; ValueError where there is none."""
    return choice.options[position(choice, value)]


def unfit(holes: Sequence[Hole], params: Mapping[str, Value]) -> str | None:
    """Why values are none of these holes; None if there is one in its range for all that are open.

    >>> unfit([Hole("mr/eta", Log(0.1, 1.0))], {"mr/eta": 3.0})
    'mr/eta = 3.0 lies outside its range'
    """
    wrong: list[str] = []

    def ask(hole: Hole) -> Value:
        domain = hole.domain
        if hole.column not in params:
            wrong.append(f"{hole.column} is missing")
        else:
            value = params[hole.column]
            if contains(domain, value) or _rounded(domain, value):
                return value
            wrong.append(f"{hole.column} = {value!a} lies outside its range")
        # any legal value, to come to an end
        return domain.options[0].value if isinstance(domain, Choice) else domain.low

    known = fill(holes, ask)
    wrong += [f"{column!a} is not open" for column in sorted(params.keys() - known.keys())]
    return wrong[0] if wrong else None


def _rounded(domain: Domain, value: Value) -> bool:
    """Whether a number is an end of its range but for rounding."""
    if isinstance(domain, Choice | Int) or type(value) is not float:
        return False
    return any(math.isclose(value, end, rel_tol=1e-9) for end in (domain.low, domain.high))


def contains(domain: Domain, value: Value) -> bool:
    """Whether a value may fill a hole.

    >>> contains(Int(1, 3), 3), contains(Uniform(0.0, 1.0), 1.5)
    (True, False)
    """
    if isinstance(domain, Choice):
        return any(
            type(option.value) is type(value) and option.value == value for option in domain.options
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(domain, Int) or isinstance(value, int)
    return whole and domain.low <= value <= domain.high
