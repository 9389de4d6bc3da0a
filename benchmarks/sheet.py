"""A sheet to draw smooth lines and words on. Pillow alone."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

TWICE = 2  # drawn so much larger and then reduced, which smooths lines
WHITE, INK = (255, 255, 255), (20, 20, 20)
DASH = 6.0  # pixels, and as many of a gap
Colour = tuple[int, int, int]
Point = tuple[float, float]


class Sheet:
    """A picture to draw on, in its final pixels; `image` is larger by TWICE."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.image = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), WHITE)
        self.pen = ImageDraw.Draw(self.image)

    def line(
        self, points: Sequence[Point], colour: Colour, width: int, dashed: bool = False
    ) -> None:
        drawn = [(x * TWICE, y * TWICE) for x, y in points]
        if not dashed:
            self.pen.line(drawn, colour, width * TWICE, "curve")
            return
        for (x, y), (to_x, to_y) in _dashes(drawn, DASH * TWICE):
            self.pen.line((x, y, to_x, to_y), colour, width * TWICE)

    def text(self, at: Point, words: str, height: int, anchor: str, colour: Colour = INK) -> None:
        place = at[0] * TWICE, at[1] * TWICE
        self.pen.text(place, words, colour, _font(height * TWICE), anchor=anchor)

    def wide(self, words: str, height: int) -> float:
        """Pixels that a text takes from left to right."""
        return _font(height * TWICE).getlength(words) / TWICE

    def upright(self, middle: Point, words: str, height: int) -> None:
        """Write from the bottom up."""
        font = _font(height * TWICE)
        room = Image.new("RGB", (round(font.getlength(words)) + 2, 2 * height * TWICE), WHITE)
        ImageDraw.Draw(room).text((1, height * TWICE), words, INK, font, anchor="lm")
        turned = room.rotate(90, expand=True)
        x, y = round(middle[0] * TWICE), round(middle[1] * TWICE)
        self.image.paste(turned, (max(0, x - turned.width // 2), y - turned.height // 2))

    def reduced(self) -> Image.Image:
        """The picture in its final size."""
        return self.image.resize(self.size, Image.Resampling.LANCZOS)

    def take(self, other: "Sheet", box: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = (round(edge * TWICE) for edge in box)
        self.image.paste(other.image.crop((left, top, right, bottom)), (left, top))

    def dot(self, at: Point, colour: Colour, radius: float = 3.0) -> None:
        x, y, r = at[0] * TWICE, at[1] * TWICE, radius * TWICE
        self.pen.ellipse((x - r, y - r, x + r, y + r), colour)


def _dashes(points: Sequence[Point], length: float) -> Iterator[tuple[Point, Point]]:
    """Pieces of a line, as long as the gaps between them."""
    travelled = 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        whole = math.hypot(to_x - x, to_y - y)
        at = 0.0
        while at < whole:
            end = min(whole, at + length - travelled % length)
            if int(travelled // length) % 2 == 0:
                a, b = at / whole, end / whole
                yield (
                    (x + a * (to_x - x), y + a * (to_y - y)),
                    (x + b * (to_x - x), y + b * (to_y - y)),
                )
            travelled += max(end - at, 1e-6)
            at = end


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own; without FreeType it has but one size."""
    return ImageFont.load_default(size)
