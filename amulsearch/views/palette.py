"""Colours of frames and of groups, in figures and on pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from ..errors import QueryError

SAME, OTHER, QUERY, UNLIKELY = "#0072b2", "#d0d0d0", "#e69f00", "#d55e00"
"""Frames: a neighbour with the label of the query, any other, the query; and the line from which on nothing is likely
to fit (from the palette of Okabe and Ito, which is safe for colour-blind readers)."""

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a500", "#8c564b", "#7f3c8d", "#666666"),
)
"""The palette of Okabe and Ito with a darker yellow, and three more colours."""


def colours(groups: Sequence[str | None]) -> dict[str, str]:
    """A colour for each group, the largest first; "other", and every group from the tenth, are grey."""
    counts = Counter(group for group in groups if group is not None)
    names = sorted(counts, key=lambda name: (name == "other", -counts[name], name))
    return {name: COLOURS[min(place, 9)] if name != "other" else COLOURS[9] for place, name in enumerate(names)}


def label_groups(labels: Sequence[str | None], most: int = 10) -> list[str | None]:
    """Reduce labels to at most `most` groups, for colours: the labels themselves if they are few enough, otherwise
    their top folders ("animals" of "animals/birds"), of which all but the largest become "other"."""
    labels = pd.Series(list(labels), dtype=object)
    if labels.nunique() > most:
        labels = labels.map(lambda label: label.split("/")[0], na_action="ignore")
    counts = labels.value_counts()
    if len(counts) > most:
        kept = set(counts.index[: most - 1])
        labels = labels.map(lambda label: label if label in kept else "other", na_action="ignore")
    return [None if pd.isna(label) else label for label in labels]


def group_frames(
    labels: Sequence[str | None], groups: Sequence[str | None] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The colour of the frame of each picture on a map (N,), and of each group, for a legend.

    `groups` (N,) decides the colours; by default, they are those of `label_groups`.
    """
    groups = label_groups(labels) if groups is None else list(groups)
    if len(groups) != len(labels):
        raise QueryError(
            f"groups must have one entry for each of the {len(labels)} pictures of a map, not {len(groups)}"
        )
    colour_of = colours(groups)
    return [colour_of.get(group, OTHER) for group in groups], colour_of
