"""docs/methods.md says what the code does: every knob, every default, every pair, every number."""

import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from bites import LIVE
from toys import ROOT, tiny

from trainables.config import Config, schema
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.chain import PLAIN, name_of, ordered, redundant
from tuning.inputs import shipped_space
from tuning.yamls import parse

PAGE = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(.+?)`\n(.+?)(?=^##|\Z)", PAGE, re.M | re.S))
# our own rules: no paper and no code has them (methods that hold rows, under mixing and smoothing)
OURS = {
    frozenset(pair)
    for pair in [
        *((name, "mixup") for name in ("sop", "sop-plus", "aux", "elr")),
        *((name, "smooth") for name in ("sop", "sop-plus")),
        ("elr", "aux"),
    ]
}


def rows(text: str) -> list[list[str]]:
    """The cells of each line of a text's tables, heads left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if set("".join(row)) != {"-"}]


def test_every_method_has_a_section() -> None:
    assert set(SECTIONS) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_knob_is_told_with_its_default(name: str) -> None:
    fields = schema(METHODS[name]).model_fields
    told = {row[0].strip("`"): row[1] for row in rows(SECTIONS[name]) if row[0] != "knob"}
    wanted: dict[str, Any] = {
        key: list(field.default) if isinstance(field.default, tuple) else field.default
        for key, field in fields.items()
    }
    assert {key: parse(value, "methods.md") for key, value in told.items()} == wanted
    assert list(told) == list(fields)


@pytest.mark.parametrize("name", METHODS)
def test_a_section_names_paper_cost_and_changes(name: str) -> None:
    text = SECTIONS[name]
    assert "Paper: " in text
    assert "Ours: " in text
    assert re.search(r"\bcosts?\b", text)


def mark(one: str, other: str) -> str:
    if one == other:
        return ""
    try:
        ordered((one, other))
    except ConfigError as error:
        return "L" if "would both set the loss" in str(error) else "X"
    if redundant((one, other)):
        return "="
    return "~" if frozenset((one, other)) in OURS else "+"


def test_the_table_of_combinations_is_what_the_code_allows() -> None:
    table = PAGE[PAGE.index("## Combinations") :]
    head, *body = rows(table[table.index("| | `mr` |") : table.index("Options decide")])
    names = [cell.strip("`") for cell in head[1:]]
    assert names == list(METHODS)
    told = {row[0].strip("`"): row[1:] for row in body}
    assert told == {one: [mark(one, other) for other in names] for one in names}


@pytest.mark.parametrize(
    ("chain", "settings", "told"),
    [
        *(
            (("aux", name), {"aux": {"fit": "mse"}}, "set the loss")
            for name in ("sop", "gce", "sce", "mae", "elr")
        ),
        (("cdr", "rdi"), {"cdr": {"decay": "l1"}}, "set the weight decay"),
    ],
)
def test_options_that_decide_are_told(
    chain: tuple[str, str], settings: dict[str, Any], told: str
) -> None:
    methods: dict[str, dict[str, Any]] = {name: {} for name in chain}
    assert Config.parse({"methods": methods}).chain == name_of(ordered(chain))
    with pytest.raises(ConfigError, match=told):
        Config.parse({"methods": methods | settings})
    ((name, option),) = settings.items()
    ((key, value),) = option.items()
    assert f"`{name}.{key}: {value}`" in PAGE


def test_no_other_option_decides() -> None:
    """Every option of every method, in every pair that runs at defaults."""
    refused = set()
    for pair in combinations(METHODS, 2):
        if mark(*pair) in ("L", "X"):
            continue
        for name in pair:
            for key, field in schema(METHODS[name]).model_fields.items():
                for value in getattr(field.annotation, "__args__", ()):
                    if not isinstance(value, str):
                        continue
                    try:
                        Config.parse({"methods": {one: {} for one in pair} | {name: {key: value}}})
                    except ConfigError:
                        refused.add((frozenset(pair), key, value))
    owners = [n for n in METHODS if METHODS[n]().owns_loss() and mark("aux", n) != "X"]
    mse = {(frozenset(("aux", n)), "fit", "mse") for n in owners}
    assert refused == mse | {(frozenset(("cdr", "rdi")), "decay", "l1")}


@pytest.mark.parametrize("name", METHODS)
def test_every_number_that_a_trial_tells_is_explained(name: str, data: Dataset) -> None:
    loop = Loop(tiny({name: LIVE[name]}), data)
    end: dict[str, Any] = {"scored": 0}
    while not end["scored"]:
        end = loop.train()
    told = PAGE[PAGE.index("## What a trial tells") :]
    for key in end:
        if key.startswith(f"{name}/wrong/"):
            short = key.removeprefix(f"{name}/wrong/")
            assert f"`<method>/wrong/{short}`" in told or f"`{short}`" in told, key
        elif key.startswith(f"{name}/"):
            assert f"`{key.removesuffix('/wrong').removesuffix('/right')}`" in told, key
        elif key in ("train/memorised", "train/corrected"):
            assert f"`{key}`" in told


def test_every_picture_is_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / path).is_file(), path


@pytest.mark.parametrize("name", [PLAIN, *METHODS])
def test_the_readme_lists_every_method_and_links_its_paper(name: str) -> None:
    line = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
    if name != PLAIN:
        papers = re.findall(r"\]\((https://\S+?)\)", line)
        assert papers
        assert all(paper in PAGE for paper in papers)


def test_each_preset_is_of_a_shipped_space() -> None:
    table = PAGE[PAGE.index("## Presets") : PAGE.index("The paper's table of SOP")]
    names = [name for row in rows(table) for name in re.findall(r"`([^`]+)`", row[0])]
    assert set(names) <= set(METHODS)
    with_points = [
        name
        for name in METHODS
        if any(
            "methods" in point
            for point in yaml.safe_load(shipped_space(name).read_text(encoding="utf-8"))["start"]
        )
    ]
    assert set(with_points) - set(names) == {"aux", "rdi"}  # ours
