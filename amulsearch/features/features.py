"""Vectors with the ids of their pictures and a fingerprint that says what made them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import MissingKeyError, QueryError
from ..intake import OPENING_VERSION, ByName, Collection, label_text
from ..models import Model, canonical_layer
from ..store import Store


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors and the pictures that they belong to: row i of `vectors` is the picture `ids[i]`.

    `extract` and the transforms return them; with your own vectors, `Features(vectors, ids, labels)` is enough.

    Parameters
    ----------
    vectors : ndarray of shape (N, D), float32
        A memory map if the vectors are in a store. Other types of numbers are converted.
    ids : list of N str
        Unique names of the pictures.
    labels : list of N str or None, optional
        None for a picture without a label. Numbers become text.
    fingerprint : mapping, optional
        What made the vectors (model, weights, layer, preprocessing, framing, ...); empty for your own vectors.
    digests : list of N str, optional
        SHA-256 of the pictures' files; empty for your own vectors.
    makers : tuple of Model and PCA, optional
        The record of the network and the fitted PCAs that compute the vector of a new picture.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.Features([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], ["a", "b", "c"]).vector("c")
    array([0., 1.], dtype=float32)
    """

    vectors: np.ndarray
    ids: list[str]
    labels: list[str | None] = field(default_factory=list)
    fingerprint: Mapping = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    makers: tuple = ()

    def __post_init__(self) -> None:
        vectors = np.asanyarray(self.vectors)
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
            raise QueryError(f"vectors must be an (N, D) array of numbers, not {vectors.dtype} {vectors.shape}")
        if vectors.dtype != np.float32:
            vectors = vectors.astype(np.float32)
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "ids", [str(id) for id in self.ids])
        object.__setattr__(self, "labels", [label_text(label) for label in self.labels] or [None] * len(self.ids))
        if not len(vectors) == len(self.ids) == len(self.labels):
            raise QueryError(f"{len(vectors)} vectors, {len(self.ids)} ids and {len(self.labels)} labels do not match")
        if len(set(self.ids)) != len(self.ids):
            raise QueryError("the ids are not unique: give each vector an id of its own")

    @property
    def name(self) -> str:
        """Model and layer as one str, for titles and tables; "own vectors" without a fingerprint."""
        return title(self.fingerprint)

    def __len__(self) -> int:
        """N, the number of vectors."""
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Features({self.name}: {self.vectors.shape[0]:,} x {self.vectors.shape[1]:,} float32)"

    def vector(self, id: str) -> np.ndarray:
        """The vector (D,) float32 of a picture."""
        row = ByName({id: row for row, id in enumerate(self.ids)})[id]
        if row is None:
            raise MissingKeyError(f"there is no vector with the id {id!r}")
        return self.vectors[row]


class FeatureSet(dict):
    """A dict of `Features` by (model, layer), as `extract` returns it.

    Feature maps may be named without their pooling: `result[model, "last"]` is `result[model, "last:mean"]`.

    Attributes
    ----------
    collection : Collection
        The pictures, without those that could not be used.
    extracted : int
        Number of pictures that went through a network; the vectors of the others were in the store, or are those of a
        picture with the same bytes.
    """

    def __init__(self, collection: Collection, features: Mapping[tuple[str, str], Features], extracted: int):
        super().__init__(features)
        self.collection = collection
        self.extracted = extracted

    @classmethod
    def open(cls, store: str | os.PathLike | Store) -> FeatureSet:
        """Open the features of a store, as last extracted: those that cover all of its pictures. StoreError if there
        are none, or they are damaged."""
        store = store if isinstance(store, Store) else Store.open(store)
        with store.database.transaction(write=False):
            collection = store.collection()
            ids, labels, digests = collection.ids, collection.labels, collection.table["digest"].tolist()
            features = {
                (known["model"], known["layer"]): Features(vectors, ids, labels, known, digests)
                for known, vectors in store.features()
            }
        return cls(collection, features, extracted=0)

    def __missing__(self, key):
        match key:
            case (model, str(layer)) if (model, canonical_layer(layer)) in self:
                return self[model, canonical_layer(layer)]
        known = ", ".join(f"[{model!r}, {layer!r}]" for model, layer in self)
        raise MissingKeyError(f"there are no features {key!r}; there are {known}")

    @property
    def rejected(self) -> pd.DataFrame:
        """The pictures that the scan or the extraction excluded: DataFrame with the columns id, reason."""
        return self.collection.rejected


def fingerprint(model: Model, layer: str, framing: str, precision: str, collection: Collection) -> dict:
    """Everything that determines the vector of a picture file but the backend, as plain values."""
    opening = {**collection.opening, "opening": OPENING_VERSION}
    return {**model.describe(), "layer": layer, "framing": framing, **opening, "precision": precision}


def title(fingerprint: Mapping) -> str:
    """The model and the layer of a fingerprint."""
    return f"{fingerprint['model']} {fingerprint['layer']}" if fingerprint else "own vectors"
