"""Colours of frames and of groups, in figures and on pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

SAME, OTHER, QUERY, MISSED = "#0072b2", "#d0d0d0", "#e69f00", "#d55e00"
"""Frames: a neighbour with the query's label, any other, the query, a neighbour that an index missed (Okabe and Ito's
colours for the colour-blind)."""

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a500", "#8c564b", "#7f3c8d", "#666666"),
)
"""Okabe and Ito's colours for the colour-blind, the yellow darker, and three more."""


def colours(groups: Sequence[str | None]) -> dict[str, str]:
    """A colour for each group, the largest first; a group past the tenth, and "other", are grey."""
    counts = Counter(group for group in groups if group is not None)
    names = sorted(counts, key=lambda name: (name == "other", -counts[name], name))
    return {name: COLOURS[min(place, 9)] if name != "other" else COLOURS[9] for place, name in enumerate(names)}
