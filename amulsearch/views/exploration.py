"""What the explorer answers, without its looks: queries of one or several pictures, by several systems side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import QueryError, check_k
from ..features import Features, encode, l2_normalize
from ..index import AnnoyIndex, ExactIndex, Index
from ..measure import METHODS, fuse

DEPTH = 50
"""How many neighbours of each network are fused; for "vote" its own default of 10."""

LESS = 0.5
"""How much the pictures count that the answer shall be less like, beside those that it shall be more like."""


@dataclass(frozen=True, eq=False)
class NewPicture:
    """A picture that is in no collection: an upload, or a part of another. `name` tells it from all others."""

    name: str
    image: Image.Image


Example = str | NewPicture


@dataclass(frozen=True)
class Question:
    """more: the pictures that the answer shall be like, ids or new pictures, at least one; less: those it shall not."""

    more: tuple[Example, ...]
    less: tuple[Example, ...] = ()

    def with_(self, example: Example, sign: str) -> Question:
        """The same with one more example: "more" or "less" like it."""
        rest = self.without(example)
        return Question(*((*part, example) if name == sign else part for name, part in vars(rest).items()))

    def without(self, example: Example) -> Question:
        """The same without an example."""
        return Question(*(tuple(one for one in part if one != example) for part in (self.more, self.less)))


@dataclass(frozen=True)
class Look:
    """How to ask. layer: which layer of the networks; columns: networks, fusion methods or names of presets.

    k: how many neighbours; n_trees: of an Annoy index, or None for exact search; search_k: how long Annoy looks.
    """

    layer: str
    columns: tuple[str, ...]
    k: int = 5
    n_trees: int | None = None
    search_k: int = 1000


class Exploration:
    """Systems that answer the same question.

    features: (model, layer) -> Features of one collection; presets: name -> Features of the same pictures.
    """

    def __init__(self, features: Mapping[tuple[str, str], Features], presets: Mapping[str, Features] | None = None):
        self.features, self.presets = dict(features), dict(presets or {})
        every = [*self.features.values(), *self.presets.values()]
        if not every:
            raise QueryError("there is nothing to explore: give the features of at least one network")
        if any(made.ids != every[0].ids for made in every):
            raise QueryError("the features are not of the same pictures in the same order")
        self.ids = every[0].ids
        self._indexes: dict[tuple, Index] = {}
        self._new: dict[tuple, np.ndarray] = {}  # vectors of new pictures

    @property
    def layers(self) -> list[str]:
        """The layers there are, each of at least one network."""
        return list(dict.fromkeys(layer for _, layer in self.features))

    def models(self, layer: str) -> list[str]:
        """The networks with this layer."""
        return [model for model, of in self.features if of == layer]

    def columns(self, layer: str) -> list[str]:
        """What can be asked side by side: networks, fusions where there are several, presets."""
        models = self.models(layer)
        return [*models, *(METHODS if len(models) > 1 else ()), *self.presets]

    def answer(self, question: Question, look: Look) -> dict[str, pd.DataFrame]:
        """A table of neighbours for each column, as `Index.query` and `fuse` give them, without the examples.

        A fusion is of all networks with the layer, not only of those that are shown.
        """
        if not question.more:
            raise QueryError("a question needs at least one picture to be like")
        k = check_k(look.k, len(self.ids) - len({*question.more, *question.less} & set(self.ids)), "other pictures")
        found: dict[str, pd.DataFrame] = {}
        fusions = [column for column in look.columns if column in METHODS]
        depth = max(k, min(DEPTH, len(self.ids) - len(question.more) - len(question.less))) if fusions else k
        for name in self.models(look.layer) if fusions else look.columns:
            if name not in METHODS:
                found[name] = self._ask(name, question, look, depth)
        for name in look.columns:
            if name in METHODS:
                found[name] = fuse([found[model] for model in self.models(look.layer)], name, k=k)
            elif name not in found:
                found[name] = self._ask(name, question, look, k)
        return {name: found[name].head(k) for name in look.columns}

    def _ask(self, name: str, question: Question, look: Look, k: int) -> pd.DataFrame:
        index = self._index(name, look)
        options = {"search_k": look.search_k} if look.n_trees else {}
        if len(question.more) == 1 and not question.less and isinstance(question.more[0], str):
            return index.query(question.more[0], k, **options)
        vector = self._mean(name, question.more, look)
        if question.less:
            vector = vector - LESS * self._mean(name, question.less, look)
        own = [one for one in (*question.more, *question.less) if isinstance(one, str)]
        table = index.query(vector, k + len(own), **options)
        table = table[~table["id"].isin(own)].head(k).reset_index(drop=True)
        return table.assign(rank=np.arange(1, len(table) + 1))

    def _mean(self, name: str, examples: Sequence[Example], look: Look) -> np.ndarray:
        """The mean of the examples' vectors at length 1, (D,): Rocchio 1971, "Relevance feedback in information
        retrieval"."""
        index = self._index(name, look)
        vectors = [index.vector(one) if isinstance(one, str) else self._vector(name, one, look) for one in examples]
        return l2_normalize(np.stack(vectors)).mean(axis=0)

    def _vector(self, name: str, picture: NewPicture, look: Look) -> np.ndarray:
        made = self._of(name, look)
        key = (picture.name, name, look.layer if name not in self.presets else "")
        if key not in self._new:
            self._new[key] = encode([picture.image], made.fingerprint, made.makers)[0]
        return self._new[key]

    def _of(self, name: str, look: Look) -> Features:
        made = self.presets.get(name) or self.features.get((name, look.layer))
        if made is None:
            raise QueryError(f"there is no {name} {look.layer} to ask; there are {', '.join(self.columns(look.layer))}")
        return made

    def _index(self, name: str, look: Look) -> Index:
        key = (name, look.layer if name not in self.presets else "", look.n_trees)
        if key not in self._indexes:
            made = self._of(name, look)
            exact = look.n_trees is None
            self._indexes[key] = ExactIndex.build(made) if exact else AnnoyIndex.build(made, n_trees=look.n_trees)
        return self._indexes[key]
