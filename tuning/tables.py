"""The columns of a study's Parquet tables, and records and reports as their rows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tuning.holes import Choice, Hole, Int
from tuning.study import Record

# What the tables hold of every trial and of every report; more report keys follow as float64.
TRIAL = {"trial": pa.string(), "chain": pa.string(), "status": pa.string()}
TRIAL |= dict.fromkeys(("score", "last", "epoch"), pa.float64()) | {"epochs": pa.int64()}
TRIAL |= {"diverged": pa.bool_(), "resets": pa.int64()}
TRIAL |= {"seconds": pa.float64(), "error": pa.string()}
STAGE = {"trial": pa.string(), "generation": pa.int64(), "epoch": pa.float64()}
STAGE |= {"donor": pa.string()}
REPORT = {"trial": pa.string(), "chain": pa.string(), "report": pa.int64(), "epoch": pa.float64()}
REPORT |= {"step": pa.int64(), "scored": pa.bool_(), "score": pa.float64()}


def column_type(hole: Hole) -> pa.DataType:
    """The type of a hole's column; a choice between kinds of values is written as strings."""
    if isinstance(hole.domain, Int):
        return pa.int64()
    if not isinstance(hole.domain, Choice):
        return pa.float64()
    kinds = {type(option.value) for option in hole.domain.options} - {type(None)}
    if kinds == {bool} or kinds == {int}:
        return pa.bool_() if kinds == {bool} else pa.int64()
    return pa.float64() if kinds in ({float}, {int, float}) else pa.string()


def column_types(holes: Sequence[Hole]) -> dict[str, pa.DataType]:
    """The type of each column; where chains have different holes of one name, what holds both."""
    types: dict[str, pa.DataType] = {}
    for hole in holes:
        kind = column_type(hole)
        before = types.setdefault(hole.column, kind)
        if before != kind:
            numbers = {before, kind} == {pa.int64(), pa.float64()}
            types[hole.column] = pa.float64() if numbers else pa.string()
    return types


def trial_row(record: Record) -> dict[str, Any]:
    """One row of trials.parquet; what nothing was reported of is null."""
    return record.params | {
        "trial": record.name,
        "resets": record.newest.get("reset/count", 0),
        "seconds": record.newest.get("seconds"),
        "epochs": record.config.get("epochs"),
        **{name: getattr(record, name) for name in TRIAL if hasattr(record, name)},
    }


def history(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Reports as a table: the columns of every report, then every other number, by name."""
    others = {key for row in rows for key, x in row.items() if isinstance(x, int | float)}
    return table(rows, REPORT | dict.fromkeys(sorted(others - REPORT.keys()), pa.float64()))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as typed columns; a value that a row does not have is null."""
    arrays = [pa.array([_cell(row.get(x), t) for row in rows], t) for x, t in columns.items()]
    return pa.table(arrays, names=list(columns))


def _cell(value: Any, kind: pa.DataType) -> Any:
    """A value as its column holds it; in a column of strings, other kinds are spelled as JSON."""
    if value is None or (pa.types.is_string(kind) and isinstance(value, str)):
        return value
    if pa.types.is_string(kind):
        return json.dumps(value)
    if pa.types.is_boolean(kind):
        return bool(value)
    return float(value) if pa.types.is_floating(kind) else int(value)
