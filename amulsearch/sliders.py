"""Controls for a notebook: a parameter is moved, and the pictures change."""

from __future__ import annotations

import io
from collections.abc import Sequence

import ipywidgets as widgets

from . import plot
from .annoy_index import AnnoyIndex
from .collection import Collection
from .exact_index import ExactIndex
from .features import Features
from .search import check_k


def missed_neighbours(
    collection: Collection,
    features: Features,
    query: str,
    *,
    k: int = 11,
    n_trees: Sequence[int] = (1, 2, 5, 10, 20, 50),
    search_k: Sequence[int] = (1, 3, 10, 30, 100, 300, 1000, 3000),
    seed: int = 0,
) -> widgets.VBox:
    """Sliders for Annoy's trees and `search_k`, the true neighbours of a query, and which of them Annoy misses.

    features: of the collection, or shortened by a transform. query: an id; another can be typed.
    Each forest is built when it is first chosen.
    """
    exact, forests = ExactIndex.build(features), {}
    k = check_k(k, len(features) - 1, "other pictures")
    trees = widgets.SelectionSlider(options=n_trees, value=n_trees[0], description="n_trees")
    nodes = widgets.SelectionSlider(options=search_k, value=search_k[len(search_k) // 2], description="search_k")
    name = widgets.Combobox(
        value=query, options=collection.ids, ensure_option=True, description="query", continuous_update=False
    )
    said, picture = widgets.Label(), widgets.Image(format="png", layout={"max_width": "100%"})

    def show(_=None) -> None:
        if trees.value not in forests:
            forests[trees.value] = AnnoyIndex.build(features, n_trees=trees.value, seed=seed)
        true = exact.query(name.value, k)
        found = forests[trees.value].query(name.value, k, search_k=nodes.value)
        missed = sum(~true["id"].isin(found["id"]))
        said.value = f"{k - missed} of the {k} nearest are found, {missed} missed"
        file = io.BytesIO()
        plot.missed_grid(collection, name.value, true, found).savefig(file, format="png", dpi=100)
        picture.value, picture.alt = file.getvalue(), said.value

    for control in (trees, nodes, name):
        control.observe(show, "value")
    show()
    return widgets.VBox([widgets.HBox([trees, nodes]), name, said, picture])
