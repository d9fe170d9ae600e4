"""The building block of all figures of pictures: a square tile with a frame and a caption."""

from __future__ import annotations

from matplotlib.patches import Rectangle
from PIL import Image

from .drawing import new_figure
from .palette import OTHER

TILE, PIXELS = 1.7, 320
"""Side of a tile in inches, and the longest side of the picture in it in pixels."""


def tile_axes(rows: int, columns: int, title: str | None, named: bool = False):
    """A figure of square tiles, each with room for a caption of two lines, and its axes (rows, columns)."""
    top = 0.12 + (0.3 if title else 0) + (0.38 if named else 0)
    width, height = columns * TILE + 0.2, rows * (TILE + 0.32) + 0.1 + top
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.1 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - top / height, wspace=0.08, hspace=0.32
    )
    for axis in axes.flat:
        axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top", parse_math=False)
    return figure, axes


def tile(axis, image: Image.Image, caption: str, frame: str) -> None:
    """Draw a picture, in its own proportions, in the middle of a framed square with a caption below."""
    image.thumbnail((PIXELS, PIXELS))
    width, height = image.size
    side = max(width, height)
    axis.imshow(image, extent=(-width / 2, width / 2, -height / 2, height / 2), interpolation="antialiased")
    axis.set_xlim(-side / 2, side / 2)
    axis.set_ylim(-side / 2, side / 2)
    thick = 1 if frame == OTHER else 2.5
    square = Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=frame, linewidth=thick)
    square.set_clip_on(False)
    axis.add_patch(square)
    axis.text(
        0.5, -0.03, caption, transform=axis.transAxes, ha="center", va="top", fontsize=6.5, color="#333333",
        linespacing=1.15, parse_math=False,
    )  # fmt: skip
