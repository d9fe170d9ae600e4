"""What all figures are made of: a figure that draws names as they are, and tiles, framed pictures with a caption."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from textwrap import wrap

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

SAME, OTHER, QUERY, UNLIKELY = "#0072b2", "#d0d0d0", "#e69f00", "#d55e00"
"""Frames: a neighbour with the label of the query, any other, the query; and the line from which on nothing is likely
to fit (from the palette of Okabe and Ito, which is safe for colour-blind readers)."""
SIDE, PIXELS = 1.33, 320
"""Side of a tile in inches, and the longest side of the picture in it in pixels."""


class Drawing(Figure):
    """A figure that draws dollar signs as they are, and the letters which its font lacks with other fonts."""

    def draw(self, renderer) -> None:
        for axes in self.axes:
            axes.get_xticklabels(), axes.get_yticklabels()  # otherwise they have no text before they are drawn
        texts = self.findobj(Text)
        fonts = _fonts(frozenset(char for text in texts for char in text.get_text() if not char.isascii()))
        for text in texts:
            text.set_parse_math(text.get_text().startswith(r"$\mathdefault{"))  # matplotlib's own powers of ten
            if not set(fonts) <= set(text.get_fontfamily()):
                text.set_fontfamily([*text.get_fontfamily(), *fonts])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")  # it is drawn as a box
            super().draw(renderer)


def new_figure(width: float, height: float, **options) -> Drawing:
    """An empty figure of a size in inches, which a notebook shows once and pyplot does not keep."""
    figure = plt.figure(FigureClass=Drawing, figsize=(width, height), **options)
    plt.close(figure)
    return figure


def sentence(text: str) -> Drawing:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(8, 0.6)
    figure.add_axes((0, 0, 1, 1)).set_axis_off()  # IPython shows no figure without axes
    figure.text(0.02, 0.5, text, va="center", fontsize=10)
    return figure


def tiles(cells: Sequence[tuple | None], columns: int, title: str | None, names: Sequence[str] = ()):
    """A figure of tiles, row by row, and its axes (rows, columns); `names` stand above the columns.

    A cell is (picture, caption, colour of the frame), or None where there is none.
    """
    rows = -(-len(cells) // columns)
    lines = wrap(title, 15 * columns) if title else []
    top = 0.12 + (0.1 + 0.2 * len(lines) if title else 0) + (0.38 if names else 0)
    width, height = columns * SIDE + 0.2, rows * (SIDE + 0.3) + 0.1 + top
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.1 / width, right=1 - 0.1 / width, bottom=0.5 / height, top=1 - top / height, wspace=0.08, hspace=0.31
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, cell in zip(axes.flat, cells, strict=False):
        if cell is not None:
            _draw_tile(axis, *cell)
    for axis, name in zip(axes[0], names, strict=False):
        axis.set_title(name, fontsize=9, fontweight="bold")
    if title:
        figure.suptitle("\n".join(lines), fontsize=11, y=1 - 0.12 / height, va="top")
    return figure, axes


def _draw_tile(axis, picture: Image.Image, caption: str, colour: str) -> None:
    """A picture, in its own proportions, in the middle of a framed square with a caption below."""
    picture = picture.copy()
    picture.thumbnail((PIXELS, PIXELS))
    width, height = picture.size
    side = max(width, height)
    axis.imshow(picture, extent=(-width / 2, width / 2, -height / 2, height / 2), interpolation="antialiased")
    axis.set(xlim=(-side / 2, side / 2), ylim=(-side / 2, side / 2))
    thick = 1 if colour == OTHER else 2.5
    frame = Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=colour, linewidth=thick)
    frame.set_clip_on(False)
    axis.add_patch(frame)
    place = {"transform": axis.transAxes, "ha": "center", "va": "top"}
    axis.text(0.5, -0.03, caption, fontsize=7.5, color="#333333", linespacing=1.15, **place)


def font_file(text: str) -> str:
    """The path of a font that has the letters of a text, or most of them."""
    fonts = _fonts(frozenset(char for char in text if not char.isascii()))
    return findfont(fonts[0] if fonts else FontProperties())


@lru_cache(maxsize=256)
def _fonts(letters: frozenset[str]) -> list[str]:
    """The fonts of the system that have the letters which the default font lacks, sans serif and regular first."""
    lacking = letters - _letters_in(findfont(FontProperties()), letters)
    usable = [font for font in fontManager.ttflist if not {"Last", "Color"} & set(font.name.split())]
    names = []
    usable.sort(
        key=lambda font: (font.style != "normal", font.weight != 400, "Mono" in font.name, "Sans" not in font.name)
    )
    for font in usable:
        if not lacking:
            break
        if more := _letters_in(font.fname, lacking):
            names.append(font.name)
            lacking -= more
    return names


def _letters_in(path: str, letters: frozenset[str]) -> frozenset[str]:
    """Those of some letters that a font has."""
    font = FT2Font(path)
    return frozenset(char for char in letters if font.get_char_index(ord(char)))
