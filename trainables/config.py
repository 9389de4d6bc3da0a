"""A trial as one frozen, validated value: the task, the chain's settings, a seed.

A config is written as nested plain data, in YAML or as a `param_space`; `Config.parse` checks every
field before anything starts. What is left out takes the digits task's value. A choice with options
of its own is written as its name or as a one-key mapping: `schedule: cosine` or
`schedule: {step: {factor: 0.2}}`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from annotated_types import Gt, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from trainables.bounds import Below1, Count, NonNegative, Positive, Seed
from trainables.data.noise import NOISES
from trainables.data.noise.base import Kind
from trainables.data.sources import SOURCES
from trainables.data.statistics import STATISTICS
from trainables.errors import ConfigError, unknown
from trainables.methods import METHODS
from trainables.methods.base import Method
from trainables.methods.chain import name_of, ordered, refuse_rivals
from trainables.models import MODELS, Model
from trainables.schedule import SCHEDULES, Schedule
from trainables.select import MODES

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
Plain = dict[str, Any]  # nested plain data, as YAML gives it
Checked = TypeVar("Checked", bound=BaseModel)
Made = TypeVar("Made")


class Noise(BaseModel):
    """Label noise: `kind`, a key of NOISES, with its own fields beside it, and `seed`."""

    model_config = STRICT
    kind: str = "symmetric"
    seed: Seed = 0
    options: Plain = {}

    @property
    def plain(self) -> Plain:
        return {"kind": self.kind, **self.options, "seed": self.seed}


def _noise(value: object) -> object:
    """Take a kind's fields from beside `kind` and `seed`; its own schema checks them later."""
    if not isinstance(value, Mapping):
        return value
    own = {key: value[key] for key in ("kind", "seed") if key in value}
    return {**own, "options": {key: value[key] for key in value if key not in own}}


def _share(value: object) -> object:
    number = isinstance(value, float) and 0 < value < 1
    if number or value == "source":
        return value
    raise PydanticCustomError("share", "must be above 0 and below 1, or source")


class Split(BaseModel):
    """What is set aside of the training source; shares are of all of it.

    Attributes:
        validation: the noisy validation split: a share, stratified by the given labels, or the
            source's own.
        trusted: the share of a set with true labels, stratified by them, cut out of what then
            remains; for methods that need one.
        seed: another seed, another split.
    """

    model_config = STRICT
    validation: Annotated[float | Literal["source"], PlainValidator(_share)] = 0.25
    trusted: Annotated[float, Gt(0), Lt(1)] | None = None
    seed: Seed = 0


class Choice(BaseModel):
    """A name with options of its own."""

    model_config = STRICT
    name: str
    options: Plain = {}

    @property
    def plain(self) -> str | Plain:
        return {self.name: self.options} if self.options else self.name


def _choice(value: object) -> Choice:
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        return Choice(name=value)
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, options),) = value.items()
        if options is None or isinstance(options, Mapping):
            # its own schema checks the options, with their path, once the name is known
            return Choice.model_construct(name=str(name), options=dict(options or {}))
    raise PydanticCustomError("choice", "must be a name, or one name with a mapping of its options")


Pick = Annotated[Choice, BeforeValidator(_choice)]


class Optim(BaseModel):
    """The optimizer; `momentum` is Adam's and AdamW's first beta, too."""

    model_config = STRICT
    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: Below1 = 0.9
    beta2: Below1 = 0.999  # adam, adamw
    nesterov: bool = False  # sgd; adam and adamw have none
    decay: NonNegative = 5e-4
    schedule: Pick = Choice(name="cosine")
    batch: Count = 32


class Task(BaseModel):
    """What is the same for every method, so that methods can be compared."""

    model_config = STRICT
    data: str = "digits"
    per_class: Count | None = None  # only the first so many training images of each class
    noise: Annotated[Noise, BeforeValidator(_noise)] = Noise(options={"rate": 0.4})
    split: Split = Split()
    statistics: str = "source"  # mean and deviation that images are normalised with
    model: Pick = Choice(name="cnn")
    augment: bool = False  # the source's own small moves
    precision: Literal["fp32", "bf16"] = "fp32"  # of the network's arithmetic; weights stay fp32
    compile: bool = False  # the network, by torch.compile; a warm-up of up to a minute per trial
    epochs: Count = 30
    optim: Optim = Optim()


class Config(BaseModel):
    """One trial. Make one with `Config.parse`.

    Attributes:
        task: data, noise, split, model, epochs, optimizer.
        methods: settings of each method of the chain, by name; what is not set takes its default.
        seed: initialisation, order of batches, augmentation and all draws of the methods.
        select: which epoch counts, a member of `trainables.select.RULES`.
        metric: the noisy-validation quantity that counts.
    """

    model_config = STRICT
    task: Task = Task()
    methods: dict[str, Plain] = {}
    seed: Seed = 0
    select: Literal["last", "best", "mean3"] = "best"
    metric: Literal["val/acc", "val/loss"] = "val/acc"

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> "Config":
        """Check a trial's nested settings.

        Raises:
            ConfigError: naming field, value and cure, in one line.

        >>> Config.parse({"methods": {"mr": {"eta": 0.1}}, "optim": {"lr": 0.02}}).chain
        'mr'
        >>> Config.parse({"methods": {"mr": {"etaa": 0.1}}})
        Traceback (most recent call last):
        trainables.errors.ConfigError: methods.mr.etaa: unknown field (did you mean eta?)
        """
        for key in plain:
            if key not in KEYS:
                raise ConfigError(f"{key}: {unknown('field', key, KEYS)}")
        task = _check(Task, {key: plain[key] for key in plain if key in Task.model_fields}, "")
        if task.noise.kind in NOISES:
            noise = task.noise.model_copy(update={"options": _options(task.noise)})
            task = task.model_copy(update={"noise": noise})
        for path, name, table in (
            ("data", task.data, SOURCES),
            ("noise.kind", task.noise.kind, NOISES),
            ("statistics", task.statistics, STATISTICS),
            ("model", task.model.name, MODELS),
            ("optim.schedule", task.optim.schedule.name, SCHEDULES),
        ):
            if name not in table:
                raise ConfigError(f"{path} = {name}: {unknown('name', name, list(table))}")
        _check(schema(MODELS[task.model.name]), task.model.options, f"model.{task.model.name}.")
        schedule = task.optim.schedule
        _check(
            schema(SCHEDULES[schedule.name]), schedule.options, f"optim.schedule.{schedule.name}."
        )
        if task.optim.nesterov and not task.optim.momentum:
            raise ConfigError("optim.nesterov = True: needs a momentum above 0")
        given = {} if plain.get("methods") is None else plain["methods"]
        if not isinstance(given, Mapping):
            raise ConfigError(f"methods = {given}: must be a mapping from method to its settings")
        methods = {}
        for name in ordered(given):
            settings = {} if given[name] is None else given[name]
            if not isinstance(settings, Mapping):
                raise ConfigError(f"methods.{name} = {settings}: must be a mapping of its settings")
            methods[name] = dict(settings)
            _check(schema(METHODS[name]), settings, f"methods.{name}.")
            if METHODS[name].needs_trusted and task.split.trusted is None:
                raise ConfigError(
                    f"split.trusted = null: {name} needs a trusted set, images with true labels, "
                    "and this task has none (split.trusted: 0.02)"
                )
        refuse_rivals({name: build(METHODS[name], methods[name]) for name in methods})
        rest = {key: plain[key] for key in ("seed", "select", "metric") if key in plain}
        return _check(cls, {**rest, "task": task, "methods": methods}, "")

    @property
    def chain(self) -> str:
        """The chain's name, such as `mr+mixup`."""
        return name_of(self.methods)

    @property
    def mode(self) -> str:
        """Whether the metric is to be `max` or `min`."""
        return MODES[self.metric]

    @property
    def plain(self) -> Plain:
        """The nested settings this config can be parsed from again, defaults of the task too."""
        task = self.task.model_dump()
        task["noise"] = self.task.noise.plain
        task["model"] = self.task.model.plain
        task["optim"]["schedule"] = self.task.optim.schedule.plain
        methods = {name: dict(settings) for name, settings in self.methods.items()}
        rest = {"seed": self.seed, "select": self.select, "metric": self.metric}
        return {**task, "methods": methods, **rest}

    def make_methods(self) -> dict[str, Method]:
        """Fresh methods with these settings, in the order in which they run."""
        return {name: build(METHODS[name], options) for name, options in self.methods.items()}

    def make_model(self) -> Model:
        """The network's options, ready to build."""
        return build(MODELS[self.task.model.name], self.task.model.options)

    def make_schedule(self) -> Schedule:
        """The learning-rate schedule, a function of progress."""
        schedule = self.task.optim.schedule
        return build(SCHEDULES[schedule.name], schedule.options)


TASK_KEYS = list(Task.model_fields)
KEYS = [*TASK_KEYS, "methods", "seed", "select", "metric"]


def _options(noise: Noise) -> Plain:
    """The fields of a kind of noise, those left out with their defaults."""
    mine = schema(NOISES[noise.kind])
    for key, value in noise.options.items():
        if key not in mine.model_fields:
            for other in map(schema, NOISES.values()):
                if key in other.model_fields:
                    told = f"kind {noise.kind} has no {key} (leave it out)"
                    raise ConfigError(f"noise.{key} = {value!r}: {told}")
            hint = unknown("field", key, ["kind", "seed", *mine.model_fields]).partition("(")[2]
            raise ConfigError(f"noise.{key}: unknown field ({hint}")
    return _check(mine, noise.options, "noise.").model_dump()


def _tuple(value: object) -> object:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def schema(cls: Any) -> type[BaseModel]:
    """The checks of a dataclass's fields; a trailing underscore of a name is dropped."""
    return _schema(cls)  # whose parameter mypy wants hashable, which protocols are not


@cache
def _schema(cls: Any) -> type[BaseModel]:
    hints = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if get_origin(get_args(hint)[0] if get_origin(hint) is Annotated else hint) is tuple:
            hint = Annotated[hint, BeforeValidator(_tuple)]  # YAML has lists only
        default = ... if field.default is dataclasses.MISSING else field.default
        fields[field.name.rstrip("_")] = (hint, default)
    return create_model(cls.__name__, __config__=STRICT, **fields)


def build(cls: Callable[..., Made], options: Mapping[str, Any]) -> Made:
    """An instance of a dataclass from checked settings."""
    checked = _check(schema(cls), options, "")
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # a dataclass, seen as what it makes
    names = {field.name.rstrip("_"): field.name for field in fields}
    return cls(**{names[key]: getattr(checked, key) for key in names})


def make_noise(noise: Noise) -> Kind:
    """A noise's kind with its settings."""
    return build(NOISES[noise.kind], noise.options)


def _check(model: type[Checked], data: Mapping[str, Any], path: str) -> Checked:
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(_told(model, error.errors()[0], path)) from None


def _told(model: type[BaseModel], error: Any, path: str) -> str:
    """One line from one of pydantic's errors: field, value, what it must be."""
    where = [str(part) for part in error["loc"]]
    place = path + ".".join(where)
    kind, limits = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        for part in where[:-1]:
            inner = model.model_fields[part].annotation
            assert isinstance(inner, type)
            model = inner
        hint = unknown("field", where[-1], list(model.model_fields)).partition("(")[2]
        return f"{place}: unknown field ({hint}"
    if kind == "missing":
        wanted = get_args(model.model_fields[where[-1]].annotation) if len(where) == 1 else ()
        return f"{place}: is missing" + (f" (one of {', '.join(map(str, wanted))})" * bool(wanted))
    rules = {
        "greater_than": f"must be above {limits.get('gt')}",
        "greater_than_equal": f"must be at least {limits.get('ge')}",
        "less_than": f"must be below {limits.get('lt')}",
        "less_than_equal": f"must be at most {limits.get('le')}",
        "finite_number": "must be a finite number",
        "float_type": "must be a number",
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "literal_error": f"must be one of {limits.get('expected')}",
        "model_type": "must be a mapping of its fields",
        "tuple_type": "must be a list",
    }
    return f"{place} = {error['input']!r}: {rules.get(kind, error['msg'])}"
