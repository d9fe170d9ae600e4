"""The search behind the explorer: queries of one or several pictures, answered by several systems side by side."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, QueryError, check_k
from ..features import Features, Words, encode, l2_normalize
from ..index import AnnoyIndex, ExactIndex, Index, NoveltyTest
from ..intake import Collection
from ..measure import METHODS, calibrated, fuse, fuse_all
from ..models import reads_words
from .answers import most_telling

DEPTH = 50
"""How many neighbours of each network are fused; "vote" counts its own default of 10."""

OPENINGS = 40
"""Of how many pictures `opening` chooses one."""

LESS = 0.5
"""Weight of the negative examples, relative to the positive ones."""


@dataclass(frozen=True, eq=False)
class NewPicture:
    """A picture that is not in the collection: an upload, a part of another picture, or words in its place.

    Attributes
    ----------
    name : str
        A name that no other picture of the exploration has.
    image : PIL.Image.Image or Words
        The picture; only networks with a text tower answer words.
    """

    name: str
    image: Image.Image | Words


Example = str | NewPicture


@dataclass(frozen=True)
class Question:
    """A query of one or several examples, each an id or a `NewPicture`.

    Attributes
    ----------
    more : tuple of str or NewPicture
        The positive examples, at least one.
    less : tuple of str or NewPicture
        The negative examples.
    """

    more: tuple[Example, ...]
    less: tuple[Example, ...] = ()

    def with_(self, example: Example, sign: str) -> Question:
        """Return the question with one more example.

        Parameters
        ----------
        example : str or NewPicture
            The example; if it is there already, it moves.
        sign : {"more", "less"}
            Whether it is positive or negative.

        Returns
        -------
        Question
        """
        rest = self.without(example)
        return Question(*((*part, example) if name == sign else part for name, part in vars(rest).items()))

    def without(self, example: Example) -> Question:
        """Return the question without an example, a str or a `NewPicture`."""
        return Question(*(tuple(one for one in part if one != example) for part in (self.more, self.less)))


@dataclass(frozen=True)
class Look:
    """The settings of a search.

    Attributes
    ----------
    layer : str
        The layer of the networks.
    columns : tuple of str
        Names of networks, fusion methods or presets.
    k : int, default 5
        How many neighbours.
    n_trees : int or None, default None
        Trees of the Annoy indexes; None for exact search.
    search_k : int, default 1000
        How many nodes Annoy searches for each query.
    """

    layer: str
    columns: tuple[str, ...]
    k: int = 5
    n_trees: int | None = None
    search_k: int = 1000


class Exploration:
    """Several systems that answer the same question.

    Parameters
    ----------
    features : Mapping of (str, str) to Features
        (model, layer) -> features of one collection.
    presets : Mapping of str to Features or Index, optional
        Name -> features or index of the same pictures.

    Attributes
    ----------
    ids : list of str
        The pictures.

    Raises
    ------
    QueryError
        If there are no features, or they are not of the same pictures in the same order.
    """

    def __init__(
        self, features: Mapping[tuple[str, str], Features], presets: Mapping[str, Features | Index] | None = None
    ):
        if not isinstance(features, Mapping):
            raise QueryError("explore takes features by (model, layer), as extract returns them")
        self.features, self.presets = dict(features), dict(presets or {})
        every = [*self.features.values(), *self.presets.values()]
        if not every:
            raise QueryError("there is nothing to explore: give the features of at least one network")
        if any(made.ids != every[0].ids for made in every):
            raise QueryError("the features are not of the same pictures in the same order")
        self.ids = every[0].ids
        self._indexes: dict[tuple, Index] = {}
        self._new: dict[tuple, np.ndarray] = {}  # vectors of new pictures
        self._tests: dict[str, NoveltyTest] = {}  # by layer
        self._networks = Lock()  # a picture waits for the network that `warm_up` is loading

    @property
    def layers(self) -> list[str]:
        """The layers of the features, list of str; each belongs to at least one network."""
        return list(dict.fromkeys(layer for _, layer in self.features))

    def models(self, layer: str) -> list[str]:
        """Return the names of the networks that have a layer, list of str."""
        return [model for model, of in self.features if of == layer]

    def columns(self, layer: str) -> list[str]:
        """Return what can answer: the presets, the networks with a layer, the fusion methods if there are several."""
        models = self.models(layer)
        return [*self.presets, *models, *(METHODS if len(models) > 1 else ())]

    def answer(self, question: Question, look: Look) -> dict[str, pd.DataFrame]:
        """Search with every system of `look.columns`.

        A fusion combines all networks with the layer, not only those in `look.columns`. Several examples are combined
        as by Rocchio: the mean of the positive vectors minus half the mean of the negative ones.

        Parameters
        ----------
        question : Question
            The examples.
        look : Look
            The settings.

        Returns
        -------
        dict of str to DataFrame
            Column -> table of neighbours, as `Index.query` and `fuse` return it, without the examples. Where
            the pictures have labels, the tables of networks and presets have a column probability.

        Raises
        ------
        QueryError
            If there is no positive example, `k` is too large, a column does not exist, or no column reads words that
            are among the examples.

        References
        ----------
        Rocchio 1971, Relevance feedback in information retrieval.
        """
        if not question.more:
            raise QueryError("a question needs at least one picture as a positive example")
        others = len(self.ids) - len({*question.more, *question.less} & set(self.ids))
        if not others:
            raise QueryError("every picture is an example of the query: remove one, so that there is one to find")
        k = min(check_k(look.k, len(self.ids) - 1, "other pictures"), others)
        if any(isinstance(one, NewPicture) and isinstance(one.image, Words) for one in question.more + question.less):
            look = replace(look, columns=tuple(name for name in look.columns if reads_words(name)))
            if not look.columns:
                raise QueryError("no column reads words: choose a network with a text tower (open_clip/REPOSITORY)")
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

    def opening(self, collection: Collection, look: Look) -> str:
        """Choose a query that shows what the first column can do.

        Parameters
        ----------
        collection : Collection
        look : Look

        Returns
        -------
        str
            Of a sample of 40 pictures, the one for which the first column finds the most neighbours of its label, and
            more of them than the other columns if several are equal; the first picture if there are no labels.
        """
        labels = dict(zip(collection.ids, collection.labels, strict=True))
        sample = collection.subset(self.ids).sample(min(OPENINGS, len(self.ids))) if look.columns else []
        ids = [id for id in sample if labels[id] is not None]
        found = [self.answer(Question((id,)), look).values() for id in ids]
        pairs = zip(ids, found, strict=True)
        hits = np.array([[(table["label"] == labels[id]).sum() for table in tables] for id, tables in pairs]).T
        return ids[most_telling(hits)] if hits.size and hits[0].any() else self.ids[0]

    def systems(self, look: Look) -> dict[str, Index | tuple]:
        """Return what answers in each column, for `Page.answers`.

        Parameters
        ----------
        look : Look

        Returns
        -------
        dict of str to Index or tuple
            Column -> index; for a fusion, the neighbours of all pictures, as `fuse_all` returns them.
        """
        fusions = [name for name in look.columns if name in METHODS]
        depth = min(DEPTH, len(self.ids) - 1)
        lists = [self._index(model, look).all_neighbours(depth) for model in self.models(look.layer) if fusions]
        return {
            name: fuse_all(lists, name, k=look.k) if name in fusions else self._index(name, look)
            for name in look.columns
        }

    def warm_up(self, look: Look) -> None:
        """Load the networks of all columns, so that the first new picture need not wait for them.

        Parameters
        ----------
        look : Look
        """
        blank = NewPicture("a blank picture", Image.new("RGB", (64, 64)))
        for name in [*self.models(look.layer), *self.presets]:
            with suppress(AmulsearchError):  # it is raised again for the first new picture
                self._vector(name, blank, look)

    def keep(self, names: Container[str]) -> None:
        """Forget the vectors of all new pictures but these.

        Parameters
        ----------
        names : container of str
        """
        for key in list(self._new):
            if key[0] not in names:
                self._new.pop(key, None)

    def p_value(self, question: Question, look: Look) -> float | None:
        """Test whether a new picture is like the collection, by all networks with the layer.

        Parameters
        ----------
        question : Question
        look : Look

        Returns
        -------
        float or None
            See `NoveltyTest.p_value`; None if the question is not one new picture, or words.
        """
        models, picture = self.models(look.layer), question.more[0]
        if len(question.more) > 1 or question.less or isinstance(picture, str) or not models:
            return None
        if isinstance(picture.image, Words):
            return None
        if look.layer not in self._tests:
            self._tests[look.layer] = NoveltyTest.build([self.features[model, look.layer] for model in models])
        return self._tests[look.layer].p_value([self._vector(model, picture, look) for model in models])

    def _ask(self, name: str, question: Question, look: Look, k: int) -> pd.DataFrame:
        index = self._index(name, look)
        options = {"search_k": look.search_k} if isinstance(index, AnnoyIndex) else {}
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
        """The mean of the L2-normalised vectors of the examples, (D,)."""
        index = self._index(name, look)
        vectors = [index.vector(one) if isinstance(one, str) else self._vector(name, one, look) for one in examples]
        return l2_normalize(np.stack(vectors)).mean(axis=0)

    def _vector(self, name: str, picture: NewPicture, look: Look) -> np.ndarray:
        made = self._of(name, look)
        if not made.fingerprint:
            raise QueryError(f"{name} has your own vectors and computes none: ask with a picture of the collection")
        key = (picture.name, name, look.layer if name not in self.presets else "")
        with self._networks:
            if key not in self._new:
                self._new[key] = encode([picture.image], made.fingerprint, made.makers)[0]
            return self._new[key]

    def _of(self, name: str, look: Look) -> Features | Index:
        made = self.presets.get(name) or self.features.get((name, look.layer))
        if made is None:
            raise QueryError(f"there is no {name} {look.layer}: choose from {', '.join(self.columns(look.layer))}")
        return made

    def _index(self, name: str, look: Look) -> Index:
        key = (name, look.layer if name not in self.presets else "", look.n_trees)
        if key not in self._indexes:
            made = self._of(name, look)
            if not isinstance(made, Index):
                exact = look.n_trees is None
                made = ExactIndex.build(made) if exact else AnnoyIndex.build(made, n_trees=look.n_trees)
            self._indexes[key] = made if made.calibration else calibrated(made)
        return self._indexes[key]
