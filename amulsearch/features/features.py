"""Vectors with the ids of the pictures they belong to, and the fingerprint that says what made them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import MissingKeyError, QueryError
from ..intake import Collection
from ..models import Model, canonical_layer
from ..store import Store, blocks, content_of, parquet


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors and the pictures they belong to; row i of `vectors` is the picture `ids[i]`.

    vectors: (N, D) float32, a memory map where they lie in a store.
    ids: N strings; labels: N strings or None.
    fingerprint: what made the vectors (model, weights, layer, preprocessing, framing, ...); empty for your own.
    digests: what the pictures' files were, N strings; empty for your own vectors.
    makers: the record of the network, and the fitted transforms, that make the vector of a new picture.
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
        object.__setattr__(self, "vectors", vectors.astype(np.float32, copy=False))
        object.__setattr__(self, "ids", [str(id) for id in self.ids])
        object.__setattr__(self, "labels", list(self.labels) or [None] * len(self.ids))
        if not len(vectors) == len(self.ids) == len(self.labels):
            raise QueryError(f"{len(vectors)} vectors, {len(self.ids)} ids and {len(self.labels)} labels do not match")
        if len(set(self.ids)) != len(self.ids):
            raise QueryError("the ids are not unique")

    @property
    def name(self) -> str:
        """The model and the layer in one word, for titles and tables."""
        return f"{self.fingerprint['model']} {self.fingerprint['layer']}" if self.fingerprint else "own vectors"

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Features({self.name}: {self.vectors.shape[0]:,} x {self.vectors.shape[1]:,} float32)"

    def vector(self, id: str) -> np.ndarray:
        """The vector of a picture, (D,) float32."""
        try:
            return self.vectors[self.ids.index(id)]
        except ValueError:
            raise MissingKeyError(f"there is no vector of {id!r}") from None

    def to_parquet(self, path: str | os.PathLike) -> Path:
        """Write the vectors for another program, see `parquet.write`."""
        strings = {"id": self.ids, "label": self.labels, "digest": self.digests or [None] * len(self)}
        return parquet.write(path, self.vectors, strings, self.fingerprint)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike) -> Features:
        """Read what `to_parquet` wrote, or another table of ids and vectors, see `parquet.read`."""
        vectors, strings, fingerprint = parquet.read(path)
        digests = [] if None in strings["digest"] else strings["digest"]
        return cls(vectors, strings["id"], strings["label"], fingerprint, digests)

    @property
    def content(self) -> str:
        """A digest of what the vectors are, without reading them where a fingerprint says it."""
        vectors = () if self.fingerprint else blocks(self.vectors)
        return content_of(self.fingerprint, self.ids, self.digests or [""] * len(self.ids), vectors)


class FeatureSet(dict):
    """Features by (model, layer), and the collection they are of, without the pictures that could not be decoded."""

    def __init__(self, collection: Collection, features: Mapping[tuple[str, str], Features], extracted: int):
        super().__init__(features)
        self.collection = collection
        self.extracted = extracted
        """How many pictures went through a network; the others were in the store."""

    @classmethod
    def open(cls, store: str | os.PathLike | Store) -> FeatureSet:
        """The features of a store, as last extracted: memory maps; StoreError where there are none."""
        store = store if isinstance(store, Store) else Store.open(store)
        collection = store.collection()
        digests = collection.table["digest"].tolist()
        features = {
            (made_by["model"], made_by["layer"]): Features(vectors, collection.ids, collection.labels, made_by, digests)
            for made_by, vectors in store.features()
        }
        return cls(collection, features, extracted=0)

    def __missing__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], str):
            full = key[0], canonical_layer(key[1])  # "last" stands for "last:mean"
            if full in self:
                return self[full]
        known = ", ".join(f"[{model!r}, {layer!r}]" for model, layer in self)
        raise MissingKeyError(f"there are no features {key!r}; there are {known}")

    @property
    def rejected(self) -> pd.DataFrame:
        """Pictures left out, by the scan or because their pixels could not be decoded: id, reason."""
        return self.collection.rejected

    @property
    def table(self) -> pd.DataFrame:
        """One row a model and layer: pictures and width."""
        rows = [(model, layer, *features.vectors.shape) for (model, layer), features in self.items()]
        return pd.DataFrame(rows, columns=["model", "layer", "pictures", "width"])


def fingerprint(model: Model, layer: str, framing: str, precision: str, collection: Collection) -> dict:
    """Everything that decides the vector of a picture file, as plain values."""
    opening = {"frame": collection.frame, "background": collection.background}
    return {**model.describe(), "layer": layer, "framing": framing, **opening, "precision": precision}
