"""Where the benchmarks' pictures put their curves, and that their modules' examples hold."""

import doctest
import math
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from benchmarks import methods, plot, recursions
from benchmarks.plot import COLOURS, Axis, Curve, ticks
from benchmarks.sheet import WHITE


@pytest.mark.parametrize("module", [methods, plot, recursions], ids=lambda module: module.__name__)
def test_examples_hold(module: ModuleType):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def where(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) rows and columns of the pixels of this colour, or nearly so at smoothed edges."""
    return np.argwhere((np.abs(np.asarray(image, dtype=int) - colour) < 12).all(-1))


@pytest.mark.parametrize("log", [False, True])
def test_points_lie_where_their_values_do(log: bool):
    values = [1.0, 10.0, 100.0] if log else [0.0, 1.0, 2.0]
    curve = Curve("", values, values, line=False, points=True)
    image = plot.plot([curve], "t", Axis("x", log), Axis("y", log))
    assert image.size == (800, 500)
    found = where(image, COLOURS[0])
    found = found[found[:, 1].argsort()]
    dots = np.split(found, 1 + np.flatnonzero(np.diff(found[:, 1]) > 9))
    assert len(dots) == 3
    tops = sorted((dot[:, 0].mean(), dot[:, 1].mean()) for dot in dots)
    assert np.allclose(np.diff([x for _, x in tops], 2), 0, atol=1)
    assert np.allclose(np.diff([y for y, _ in tops], 2), 0, atol=1)
    assert tops[0][1] > tops[-1][1]  # the largest is highest, and furthest right


def test_what_cannot_be_shown_is_left_out():
    curve = Curve("", [1.0, 2.0, 3.0], [math.nan, 0.0, 10.0], line=False, points=True)
    image = plot.plot([curve], "t", Axis("x"), Axis("y", log=True))
    assert np.ptp(where(image, COLOURS[0])[:, 1]) < 6  # one point


def test_curves_stay_inside_their_box():
    steep = Curve("", [0.0, 1.0], [-2.0, 2.0])
    image = plot.plot([steep], "t", Axis("x"), Axis("y", low=0.0, high=1.0))
    rows = where(image, COLOURS[0])[:, 0]
    assert plot.TOP - 1 <= rows.min() < plot.TOP + 5
    assert 500 - plot.BOTTOM - 5 < rows.max() <= 500 - plot.BOTTOM


def test_nothing_to_show_is_an_empty_picture():
    image = plot.plot([], "", Axis(""), Axis(""))
    assert image.getpixel((400, 100)) in {WHITE, plot.GRID}
    assert plot.png(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("low", [-3.0, 0.0, 1e-9, 0.98, 1e6])
@pytest.mark.parametrize("span", [1e-3, 0.7, 5.0, 99.0])
def test_ticks_are_few_and_inside(low: float, span: float):
    found = ticks(low, low + span)
    assert 3 <= len(found) <= 9
    assert low - 1e-9 <= found[0] <= found[-1] <= low + span + 1e-9
    assert 2 <= len(ticks(low, low + max(span, 0.7), log=True)) <= 10
