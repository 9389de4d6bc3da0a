"""A transition matrix as a picture: which clean class was given which label."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WHITE, INK, GREY, LINE = (255, 255, 255), (20, 20, 20), (130, 130, 130), (225, 225, 225)
DEEP = np.array((8, 48, 107))  # of a share of 1
CELLS = 1200  # pixels that all cells take, about
NAMED, MOST = 12, 56  # pixels of a cell: those a class's name needs; at most
NUMBERED = 32  # pixels of a cell that a number fits into
LONGEST = 16  # letters of a class's name
MARKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)  # of the scale
GAP = 10
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def transition_picture(
    counts: npt.NDArray[np.int64], classes: Sequence[str], name: str
) -> Image.Image:
    """Draw the share of each clean class that was given each label.

    Colours go by the square root of the share, so that a hundredth can be seen.

    Args:
        counts: (K, K), row = clean class, column = given class.
        classes: K names.
        name: of the task, for the title.
    """
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    changed = 1 - counts.trace() / max(1, counts.sum())
    size = max(1, min(MOST, CELLS // len(classes)))
    names = [_short(text) if size >= NAMED else "" for text in classes]
    font, title = _font(max(NAMED - 2, min(16, size - 2))), _font(20)
    labels = [_text(text, font) for text in names]
    margin = GAP + max(label.width for label in labels) + GAP
    side = size * len(classes)
    left, top = margin + 24, 70 + margin
    scale = _scale(side)
    image = Image.new("RGB", (max(520, left + side + GAP + scale.width), top + side + GAP), WHITE)
    pen = ImageDraw.Draw(image)
    pen.text((GAP, GAP), f"{name}: {changed:.1%} of the labels changed", INK, title)
    told = "row: clean class, column: given label, colour: share of the row"
    pen.text((GAP, GAP + 28), told, GREY, _font(15))
    for i, label in enumerate(labels):
        middle = i * size + (size - label.height) // 2
        image.paste(label, (left - GAP // 2 - label.width, top + middle))
        upright = label.rotate(90, expand=True)
        image.paste(upright, (left + middle, top - GAP // 2 - upright.height))
    cells = colours(shares).repeat(size, 0).repeat(size, 1)
    image.paste(Image.fromarray(cells), (left, top))
    numbers = _font(max(1, min(15, size // 3)))
    for row, column in zip(*np.nonzero(shares), strict=True) if size >= NUMBERED else ():
        share = shares[row, column]
        place = (left + (column + 0.5) * size, top + (row + 0.5) * size)
        text = f"{share:.2f}" if share >= 0.005 else "<.01"
        pen.text(place, text, WHITE if share > 0.3 else INK, numbers, anchor="mm")
    for i in range(0, side + 1, size if size >= NAMED else side):  # to follow a row to its name
        pen.line((left, top + i, left + side, top + i), LINE)
        pen.line((left + i, top, left + i, top + side), LINE)
    image.paste(scale, (left + side + GAP, top))
    return image


def colours(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """From white, for 0, to a dark blue, for 1: (..., 3) red, green and blue.

    >>> colours(np.array([0.0, 1.0])).tolist()
    [[255, 255, 255], [8, 48, 107]]
    """
    return np.rint(255 + (DEEP - 255) * shares[..., None] ** 0.5).astype(np.uint8)


def png(image: Image.Image) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _scale(height: int) -> Image.Image:
    """What the colours mean, from 1 at the top to 0."""
    font = _font(13)
    image = Image.new("RGB", (70, height + 1), WHITE)
    pen = ImageDraw.Draw(image)
    column = colours((1 - np.arange(height) / height) ** 2)[:, None]
    image.paste(Image.fromarray(column.repeat(17, 1)), (0, 0))
    pen.rectangle((0, 0, 16, height), outline=GREY)
    for mark in MARKS:
        y = min(height - 8, max(7, round(height * (1 - mark**0.5))))
        pen.text((22, y), f"{mark:g}", INK, font, anchor="lm")
    return image


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}."


def _text(text: str, font: Font) -> Image.Image:
    """A line of text as a picture, to be turned."""
    height = round(font.getbbox("Ågj")[3]) + 1
    image = Image.new("RGB", (max(1, round(font.getlength(text)) + 2), height), WHITE)
    ImageDraw.Draw(image).text((1, 0), text, INK, font)
    return image


def _font(size: int) -> Font:
    """Pillow's own; without FreeType it has but one size."""
    return ImageFont.load_default(size)
