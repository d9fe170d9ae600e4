"""Between features and index: vectors joined, reduced, whitened or moved towards their neighbours.

A transform is fitted on the features of a collection and then applied to them, and to new pictures. What it makes are
Features again; their fingerprint is a tree that says how, so a new picture can take the same way (`encoding.encode`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..errors import QueryError, check_k
from .features import Features
from .vectors import l2_normalize

BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Transform:
    """A fitted transform: call it with Features to get Features, with an array (N, D) to get an array (N, W) float32.

    settings: its parameters; arrays: what was learned; source: the fingerprint of the features it was fitted on, empty
    for your own vectors; content: their digest.

    Raises QueryError for vectors of another width, and for features made in another way.
    """

    settings: Mapping
    arrays: Mapping[str, np.ndarray]
    source: Mapping
    content: str
    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Transform]]] = {}
    """The class of each kind, with which a stored transform is opened."""

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        Transform.kinds.setdefault(cls.kind, cls)

    def __call__(self, vectors: Features | np.ndarray) -> Features | np.ndarray:
        if not isinstance(vectors, Features):
            return self._apply(self._checked(vectors))
        if vectors.fingerprint != self.source:
            raise QueryError(
                f"this {self.kind} was fitted on {_name(self.source)}: it cannot be applied to {vectors.name}"
            )
        made = self._apply_to_own(vectors) if vectors.content == self.content else self(vectors.vectors)
        made_by = {}
        if vectors.fingerprint:
            made_by = _node(self.kind, [vectors], f"{vectors.fingerprint['layer']} {self}")
            made_by |= {**self.settings, "fitted": self.digest}
        return Features(made, vectors.ids, vectors.labels, made_by, vectors.digests, (*vectors.makers, self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what comes out."""
        sha = hashlib.sha256(json.dumps([self.kind, self.settings, self.source], sort_keys=True).encode())
        for name in sorted(self.arrays):
            sha.update(name.encode() + np.ascontiguousarray(self.arrays[name]).tobytes())
        return sha.hexdigest()

    @property
    def width(self) -> int:
        """How wide the vectors are that it takes."""
        raise NotImplementedError

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _apply_to_own(self, features: Features) -> np.ndarray:
        return self._apply(self._checked(features.vectors))

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise QueryError(f"this {self.kind} takes vectors (N, {self.width}), not {vectors.shape}")
        return vectors


class Linear(Transform):
    """A linear map, `axes` (W, D), of vectors scaled to length 1, less their `mean` (D,), scaled to length 1 again."""

    kind = "linear"

    @property
    def width(self) -> int:
        return len(self.arrays["mean"])

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        return l2_normalize((l2_normalize(vectors) - self.arrays["mean"]) @ self.arrays["axes"].T)


class PCA(Linear):
    """Principal components of vectors scaled to length 1, whitened in part, and scaled to length 1 again."""

    kind = "pca"

    @classmethod
    def fit(cls, features: Features | np.ndarray, width: int = 256, *, whiten: float = 0.0) -> PCA:
        """Learn the components with the greatest variance.

        width: how many; at most the width of the vectors, and one less than the pictures. Components without any
            variance are left out.
        whiten: each component is divided by its standard deviation to this power: 0 leaves it, 1 makes all equal
            (L2, whiten, L2: Jegou & Chum 2012, "Negative evidences and co-occurrences in image retrieval"), and
            between them lie the powers of Mukundan et al. 2019, "Understanding and improving kernel local
            descriptors".
        """
        vectors, source, content = learned_from(features)
        most = min(len(vectors) - 1, vectors.shape[1])
        if isinstance(width, bool) or int(width) != width or not 1 <= width <= most:
            raise QueryError(f"a PCA of {len(vectors)} vectors of width {vectors.shape[1]} has 1 to {most} components")
        if not 0 <= whiten <= 1:
            raise QueryError(f"whiten is a power from 0 to 1, not {whiten!r}")
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = vectors - mean
        if len(centred) < centred.shape[1]:  # the smaller of the two matrices has the same eigenvalues
            variances, left = np.linalg.eigh((centred @ centred.T).astype(np.float64) / len(centred))
            axes = centred.T @ left.astype(np.float32)
        else:
            variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
        order = np.argsort(-variances, kind="stable")[:width]
        order = order[variances[order] > 1e-6 * max(variances.max(), 1e-12)]
        if not len(order):
            raise QueryError("all vectors are the same: there are no principal components")
        axes = l2_normalize(axes[:, order].T) * (variances[order] ** (-whiten / 2))[:, None]
        arrays = {"mean": mean, "axes": axes.astype(np.float32)}
        return cls({"width": int(width), "whiten": float(whiten)}, arrays, source, content)

    def __str__(self) -> str:
        whitened = f" whitened {self.settings['whiten']:g}" if self.settings["whiten"] else ""
        return f"PCA {self.settings['width']}{whitened}"


class Expansion(Transform):
    """Every vector moved towards its nearest neighbours in the collection.

    Applied to the collection this is database-side augmentation (Arandjelovic & Zisserman 2012, "Three things everyone
    should know to improve object retrieval"), applied to a new picture alpha query expansion (Radenovic, Tolias &
    Chum 2018, "Fine-tuning CNN image retrieval with no human annotation").
    """

    kind = "expansion"

    @classmethod
    def fit(cls, features: Features | np.ndarray, k: int = 5, *, alpha: float = 2.0) -> Expansion:
        """Keep the collection's vectors.

        k: how many neighbours are added to a vector; alpha: each weighs its cosine to the power alpha, so that a
        greater alpha lets far neighbours count less.
        """
        vectors, source, content = learned_from(features)
        k = check_k(k, len(vectors) - 1, "other pictures")
        if not alpha >= 0:
            raise QueryError(f"alpha must be 0 or more, not {alpha!r}")
        return cls({"k": k, "alpha": float(alpha)}, {"vectors": vectors}, source, content)

    def __str__(self) -> str:
        return f"expanded {self.settings['k']}"

    @property
    def width(self) -> int:
        return self.arrays["vectors"].shape[1]

    def _apply(self, vectors: np.ndarray, own: bool = False) -> np.ndarray:
        base, k, parts = self.arrays["vectors"], self.settings["k"], []
        for start in range(0, len(vectors), BLOCK):
            block = l2_normalize(vectors[start : start + BLOCK])
            cosine = block @ base.T
            if own:
                cosine[np.arange(len(block)), start + np.arange(len(block))] = -np.inf
            near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
            weights = np.maximum(np.take_along_axis(cosine, near, axis=1), 0) ** self.settings["alpha"]
            parts.append(l2_normalize(block + np.einsum("bn,bnd->bd", weights, base[near])))
        return np.concatenate(parts)

    def _apply_to_own(self, features: Features) -> np.ndarray:
        return self._apply(self.arrays["vectors"], own=True)


def concatenate(parts: Sequence[Features]) -> Features:
    """Vectors of several models or layers side by side, each part scaled to length 1: (N, D1 + D2 + ...).

    The cosine of the result is the mean of the cosines of the parts. Raises QueryError for parts of other pictures.
    """
    return _combined("concatenate", same_pictures(parts))


def average(parts: Sequence[Features]) -> Features:
    """The mean of vectors of the same width, each scaled to length 1, as of several views of a picture: (N, D).

    Views are extracted from `NAME@mirror` and `NAME@SIZE`, see `models.get`. Raises QueryError for parts of other
    pictures or of other widths.
    """
    widths = {part.vectors.shape[1] for part in same_pictures(parts)}
    if len(widths) > 1:
        raise QueryError(f"vectors of the widths {sorted(widths)} have no mean: use concatenate")
    return _combined("average", parts)


def combine(op: str, parts: Sequence[np.ndarray]) -> np.ndarray:
    """What `concatenate` and `average` do, on arrays (N, D)."""
    scaled = [l2_normalize(part) for part in parts]
    return l2_normalize(np.concatenate(scaled, axis=1) if op == "concatenate" else sum(scaled))


def learned_from(features: Features | np.ndarray) -> tuple[np.ndarray, dict, str]:
    """Unit vectors to learn from, their fingerprint and their digest."""
    source, content = {}, ""
    if isinstance(features, Features):
        source, content, features = dict(features.fingerprint), features.content, features.vectors
    vectors = np.asarray(features, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise QueryError(f"a transform is fitted on at least two vectors (N, D), not on {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise QueryError("the vectors hold NaN or infinite values: leave those pictures out")
    return l2_normalize(vectors), source, content


def same_pictures(parts: Sequence[Features]) -> Sequence[Features]:
    if not parts:
        raise QueryError("give at least one Features")
    if any(part.ids != parts[0].ids or part.digests != parts[0].digests for part in parts):
        raise QueryError("the features are not of the same pictures in the same order")
    return parts


def _combined(op: str, parts: Sequence[Features]) -> Features:
    made_by = {}
    if all(part.fingerprint for part in parts):
        layers = dict.fromkeys(part.fingerprint["layer"] for part in parts)
        made_by = _node(op, parts, " + ".join(layers))
    vectors = combine(op, [part.vectors for part in parts])
    makers = tuple({id(maker): maker for part in parts for maker in part.makers}.values())
    return Features(vectors, parts[0].ids, parts[0].labels, made_by, parts[0].digests, makers)


def _node(kind: str, parts: Sequence[Features], layer: str) -> dict:
    names = dict.fromkeys(part.fingerprint["model"] for part in parts)
    return {"model": " + ".join(names), "layer": layer, "op": kind, "of": [dict(part.fingerprint) for part in parts]}


def _name(made_by: Mapping) -> str:
    return f"{made_by['model']} {made_by['layer']}" if made_by else "vectors without a model"
