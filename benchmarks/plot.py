"""Curves and points as a picture: axes, ticks, labels, a legend. Pillow alone."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from benchmarks.sheet import INK, Colour, Point, Sheet

WIDTH, HEIGHT = 800, 500
LEFT, RIGHT, BOTTOM, TOP, ROW = 82, 24, 60, 44, 20  # margins; height of a legend's row
GREY, GRID = (110, 110, 110), (228, 228, 228)
# told apart with any colour vision: Okabe and Ito, "Color Universal Design", 2008
COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (120, 120, 120),
)


@dataclass(frozen=True)
class Curve:
    """What is drawn in one colour.

    Attributes:
        name: for the legend; empty for none.
        x, y: as many numbers each; what is not finite, or not above 0 on a log axis, is left out.
        error: half the height of a bar at each point; empty for none.
        line, points: whether points are joined, whether they are marked.
        dashed: of the line.
        colour: a place in COLOURS; by default the curve's place among the curves.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] = ()
    line: bool = True
    points: bool = False
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Axis:
    """One side of a picture.

    Attributes:
        name: what it shows, with its unit.
        log: whether by powers of ten.
        low, high: its ends; by default what the curves need.
    """

    name: str
    log: bool = False
    low: float | None = None
    high: float | None = None

    def ends(self, values: Sequence[float]) -> tuple[float, float]:
        """From where to where, in the axis's own measure (a logarithm on a log axis)."""
        shown = [self.place(value) for value in values if self.shows(value)] or [0.0, 1.0]
        low = min(shown) if self.low is None else self.place(self.low)
        high = max(shown) if self.high is None else self.place(self.high)
        room = 0.03 * (high - low) or 0.5
        return low - room * (self.low is None), high + room * (self.high is None)

    def shows(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.log)

    def place(self, value: float) -> float:
        return math.log10(value) if self.log else value


def ticks(low: float, high: float, log: bool = False) -> list[float]:
    """About six round values between two ends, in the measure of `Axis.ends`.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> [round(10**tick, 6) for tick in ticks(-2.1, 1, log=True)]
    [0.01, 0.1, 1.0, 10.0]
    """
    if log and high - low >= 2:
        apart = max(1, math.ceil((high - low) / 8))
        return [float(at) for at in range(math.ceil(low), math.floor(high) + 1, apart)]
    if log:
        decades = range(math.floor(low), math.ceil(high) + 1)
        marks = [decade + math.log10(part) for decade in decades for part in (1, 2, 5)]
        return [at for at in marks if low <= at <= high]
    raw = (high - low) / 5
    size = 10 ** math.floor(math.log10(raw))
    apart = size * next(
        step for step, most in ((1, 1.5), (2, 3), (5, 7), (10, 11)) if raw < most * size
    )
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [round(at * apart, 12) for at in range(first, last + 1)]


def plot(
    curves: Sequence[Curve],
    title: str,
    x: Axis,
    y: Axis,
    *,
    uprights: Sequence[tuple[float, str]] = (),
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Image.Image:
    """Draw curves into one picture.

    Args:
        curves: in the order of the legend; the last one lies on top.
        title: above the picture.
        x, y: the axes.
        uprights: places on the x axis to mark by a vertical line, each with a word beside it.
        size: width and height, pixels.
    """
    colours = [
        COLOURS[(at if curve.colour is None else curve.colour) % len(COLOURS)]
        for at, curve in enumerate(curves)
    ]
    sheet = Sheet(size)
    sheet.text((size[0] / 2, 10), title, 17, "mt")
    top = TOP + _legend(sheet, list(zip(curves, colours, strict=True)))
    spans = [(v, e) for curve in curves for v, e in zip(curve.y, _errors(curve), strict=True)]
    frame = Frame(
        (LEFT, top, size[0] - RIGHT, size[1] - BOTTOM),
        x,
        y,
        x.ends([*(value for curve in curves for value in curve.x), *(at for at, _ in uprights)]),
        y.ends([value + error for v, e in spans for value, error in ((v, -e), (v, e))]),
    )
    left, _, right, bottom = frame.box
    inside = Sheet(size)  # of which only the box is taken: curves may leave it
    for tick in ticks(*frame.across, x.log):
        place = frame.x(tick)
        inside.line([(place, top), (place, bottom)], GRID, 1)
        sheet.text((place, bottom + 7), _number(tick, x.log), 13, "mt")
    for tick in ticks(*frame.along, y.log):
        place = frame.y(tick)
        inside.line([(left, place), (right, place)], GRID, 1)
        sheet.text((left - 7, place), _number(tick, y.log), 13, "rm")
    for where, word in uprights:
        place = frame.x(x.place(where))
        inside.line([(place, top), (place, bottom)], GREY, 1, dashed=True)
        inside.text((place + 4, bottom - 6), word, 13, "lb", GREY)
    for curve, colour in zip(curves, colours, strict=True):
        _draw(inside, curve, colour, frame)
    sheet.take(inside, frame.box)
    sheet.line([(left, top), (left, bottom), (right, bottom)], INK, 1)
    sheet.text(((left + right) / 2, size[1] - 12), x.name, 15, "mb")
    sheet.upright((18, (top + bottom) / 2), y.name, 15)
    return sheet.reduced()


def png(image: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


@dataclass(frozen=True)
class Frame:
    """Where values lie in a picture: `box` is left, top, right, bottom, in pixels.

    Attributes:
        across, along: ends of the two axes, as `Axis.ends` gives them.
    """

    box: tuple[float, float, float, float]
    axis_x: Axis
    axis_y: Axis
    across: Point
    along: Point

    def x(self, place: float) -> float:
        share = (place - self.across[0]) / (self.across[1] - self.across[0])
        return self.box[0] + share * (self.box[2] - self.box[0])

    def y(self, place: float) -> float:
        share = (place - self.along[0]) / (self.along[1] - self.along[0])
        return self.box[3] - share * (self.box[3] - self.box[1])

    def point(self, x: float, y: float) -> Point | None:
        if self.axis_x.shows(x) and self.axis_y.shows(y):
            return self.x(self.axis_x.place(x)), self.y(self.axis_y.place(y))
        return None


def _legend(sheet: Sheet, curves: Sequence[tuple[Curve, Colour]]) -> int:
    """Write the names under the title, in as many rows as they need; gives their height."""
    x, y = float(LEFT), float(TOP)
    for curve, colour in curves:
        if not curve.name:
            continue
        wide = 34 + sheet.wide(curve.name, 13) + 18
        if x > LEFT and x + wide > sheet.size[0] - RIGHT / 2:
            x, y = float(LEFT), y + ROW
        middle = y + 5
        if curve.line:
            sheet.line([(x, middle), (x + 26, middle)], colour, 2, curve.dashed)
        if curve.points:
            sheet.dot((x + 13, middle), colour)
        sheet.text((x + 34, middle), curve.name, 13, "lm")
        x += wide
    return round(y) - TOP + ROW if any(curve.name for curve, _ in curves) else 0


def _draw(sheet: Sheet, curve: Curve, colour: Colour, frame: Frame) -> None:
    values = list(zip(curve.x, curve.y, _errors(curve), strict=True))
    found = [point for x, y, _ in values if (point := frame.point(x, y))]
    if curve.line and len(found) > 1:
        sheet.line(found, colour, 2, curve.dashed)
    for x, y, error in values:
        ends = frame.point(x, y - error), frame.point(x, y + error)
        if error and ends[0] and ends[1]:
            sheet.line([ends[0], ends[1]], colour, 1)
    for point in found if curve.points else ():
        sheet.dot(point, colour, 3.0 if curve.line else 2.0)


def _errors(curve: Curve) -> Sequence[float]:
    return curve.error or [0.0] * len(curve.y)


def _number(tick: float, log: bool) -> str:
    """A tick's value; on a log axis the tick is its logarithm.

    >>> _number(0.25, log=False), _number(-2.0, log=True), _number(-9.0, log=True)
    ('0.25', '0.01', '1e-9')
    """
    value = 10**tick if log else tick
    if value and not 1e-4 <= abs(value) < 1e5:
        digits, _, power = f"{value:.0e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{round(value, 10):.6g}"
