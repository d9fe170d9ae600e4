"""The figure behind all figures: it draws letters that matplotlib's font lacks, and names as plain text."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import lru_cache

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text


class Drawing(Figure):
    """A figure that draws the letters which its font lacks with other fonts of the system."""

    def draw(self, renderer) -> None:
        """Draw with fonts that have all letters; a letter that no font has is drawn as a box, without a warning."""
        for axes in self.axes:
            axes.get_xticklabels(), axes.get_yticklabels()  # otherwise they have no text before they are drawn
        texts = self.findobj(Text)
        fonts = _fonts(frozenset(char for text in texts for char in text.get_text() if not char.isascii()))
        for text in texts:
            if not set(fonts) <= set(text.get_fontfamily()):
                text.set_fontfamily([*text.get_fontfamily(), *fonts])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
            super().draw(renderer)


def new_figure(width: float, height: float, **options) -> Drawing:
    """An empty figure of a size in inches, which a notebook shows once and pyplot does not keep."""
    figure = plt.figure(FigureClass=Drawing, figsize=(width, height), **options)
    plt.close(figure)
    return figure


def add_legend(place, handles: Collection, names: Collection[str], **options):
    """Add a legend to a figure or to axes, whose names may begin with an underscore or hold dollar signs."""
    legend = place.legend(list(handles), ["name"] * len(names), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)
    return legend


def font_file(text: str) -> str:
    """The path of a font that has the letters of a text, or most of them."""
    fonts = _fonts(frozenset(char for char in text if not char.isascii()))
    return findfont(fonts[0] if fonts else FontProperties())


@lru_cache(maxsize=256)
def _fonts(letters: frozenset[str]) -> list[str]:
    """The fonts of the system that have the letters which the default font lacks, sans serif and regular first."""

    def of(path: str) -> set[str]:
        font = FT2Font(path)
        return {char for char in letters if font.get_char_index(ord(char))}

    lacking = letters - of(findfont(FontProperties())) if letters else set()
    usable = [font for font in fontManager.ttflist if not {"Last", "Color"} & set(font.name.split())]
    plain = lambda font: (font.style == "normal", font.weight == 400, "Mono" not in font.name, "Sans" in font.name)  # noqa: E731
    found = []
    for font in sorted(usable, key=plain, reverse=True):
        if not lacking:
            break
        if own := lacking & of(font.fname):
            found.append(font.name)
            lacking -= own
    return found
