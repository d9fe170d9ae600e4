"""Transforms of features before indexing: concatenation, averaging, PCA, whitening, expansion.

A transform is fitted on the features of a collection and applied to them and to new pictures. The result is `Features`
again; its fingerprint is a tree that says how it was made, so that an index can treat a new picture in the same way.

Examples
--------
>>> import amulsearch as am
>>> import numpy as np
>>> vectors = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
>>> features = am.Features(vectors, [f"{row}.png" for row in range(20)])
>>> pca = am.transforms.PCA.fit(features, width=3, whiten=0.5)
>>> pca(features)
Features(own vectors: 20 x 3 float32)
>>> pca(vectors[:2]).shape
(2, 3)
>>> am.transforms.concatenate([features, pca(features)]).vectors.shape
(20, 11)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..errors import QueryError, as_number, check_integer, check_k
from .exact_search import nearest
from .features import Features
from .vectors import as_vectors, l2_normalize

__all__ = ["PCA", "Expansion", "Transform", "average", "concatenate"]


def __dir__() -> list[str]:
    return __all__.copy()


BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Transform:
    """The base class of fitted transforms; `PCA.fit` and `Expansion.fit` make them.

    Attributes
    ----------
    settings : mapping
        The parameters.
    arrays : mapping of str to ndarray
        What was learned.
    source : mapping
        The fingerprint of the features that the transform was fitted on; empty for your own vectors.
    content : str
        The digest of those features, see `Features.content`.
    """

    settings: Mapping
    arrays: Mapping[str, np.ndarray]
    source: Mapping
    content: str
    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Transform]]] = {}
    """The class of each kind, for opening saved transforms."""

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        Transform.kinds.setdefault(cls.kind, cls)

    def __call__(self, vectors: Features | np.ndarray) -> Features | np.ndarray:
        """Transform vectors.

        Parameters
        ----------
        vectors : Features or ndarray of shape (N, D), float32
            Features made in the same way as those that the transform was fitted on, or vectors.

        Returns
        -------
        Features or ndarray of shape (N, W), float32
            Of the same type as the argument, with vectors of length 1.

        Raises
        ------
        QueryError
            For vectors of another width, and for features made in another way.
        """
        if not isinstance(vectors, Features):
            return self._apply(self._checked(vectors))
        if vectors.fingerprint != self.source:
            raise QueryError(
                f"this {self.kind} was fitted on {_name(self.source)}, not on {vectors.name}: fit another one"
            )
        made = self._apply_to_own(vectors) if vectors.content == self.content else self(vectors.vectors)
        made_by = {}
        if vectors.fingerprint:
            made_by = _node(self.kind, [vectors], f"{vectors.fingerprint['layer']} {self}")
            made_by |= {**self.settings, "fitted": self.digest}
        return Features(made, vectors.ids, vectors.labels, made_by, vectors.digests, (*vectors.makers, self))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that determines the result (str)."""
        sha = hashlib.sha256(json.dumps([self.kind, self.settings, self.source], sort_keys=True).encode())
        for name in sorted(self.arrays):
            sha.update(name.encode() + np.ascontiguousarray(self.arrays[name]).tobytes())
        return sha.hexdigest()

    @property
    def width(self) -> int:
        """The width D of the vectors that the transform accepts (int)."""
        raise NotImplementedError

    def __str__(self) -> str:
        """The name of the transform in the layer of what it makes."""
        return self.kind

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self}, for vectors of width {self.width:,})"

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _apply_to_own(self, features: Features) -> np.ndarray:
        return self._apply(self._checked(features.vectors))

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        return as_vectors(vectors, self.width)


class PCA(Transform):
    """Principal components of vectors of length 1, optionally whitened, scaled to length 1 again; see `fit`."""

    kind = "pca"

    @property
    def width(self) -> int:
        """The width D of the vectors that the transform accepts (int)."""
        return len(self.arrays["mean"])

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        return l2_normalize((l2_normalize(vectors) - self.arrays["mean"]) @ self.arrays["axes"].T)

    @classmethod
    def fit(cls, features: Features | np.ndarray, width: int = 256, *, whiten: float = 0.0) -> PCA:
        """Learn the components with the greatest variance.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
            The vectors to learn from.
        width : int, default 256
            Number of components W; capped at D, N - 1 and, for more than two, N * 4 ** (1 - 2 * whiten), which is N / 4
            for full whitening. Components without variance are dropped.
        whiten : float from 0 to 1, default 0
            Each component is divided by its standard deviation to this power: 0 does not whiten, 1 gives all
            components the same variance.

        Returns
        -------
        PCA

        Raises
        ------
        QueryError
            If a parameter is out of range, there are fewer than two vectors, all are equal, or some are not finite.

        References
        ----------
        Jégou & Chum 2012, Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening.
        Mukundan et al. 2019, Understanding and improving kernel local descriptors.

        Notes
        -----
        The variances of the last components are underestimated where N is not much greater than W (Ledoit & Wolf 2004,
        A well-conditioned estimator for large-dimensional covariance matrices), and full whitening makes them as strong
        as the first: with all N - 1 components, all pictures are equally far apart. The cap was chosen on 12 to 257
        pictures of animals and people among the bundled cartoons.
        """
        vectors, source, content = learned_from(features)
        width = min(check_integer("width", width), vectors.shape[1], len(vectors) - 1)
        if not 0 <= as_number(whiten) <= 1:
            raise QueryError(f"whiten must be an exponent from 0 to 1, not {whiten!r}")
        width = min(width, max(2, int(len(vectors) * 4 ** (1 - 2 * whiten))))
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
        return cls({"width": width, "whiten": float(whiten)}, arrays, source, content)

    def __str__(self) -> str:
        whitened = f" whitened {self.settings['whiten']:g}" if self.settings["whiten"] else ""
        return f"PCA {self.settings['width']}{whitened}"


class Expansion(Transform):
    """Moves every vector towards its nearest neighbours in the collection; see `fit`.

    Applied to the collection, this is database-side augmentation; applied to a new picture, alpha query expansion.

    References
    ----------
    Arandjelović & Zisserman 2012, Three things everyone should know to improve object retrieval.
    Radenović, Tolias & Chum 2018, Fine-tuning CNN image retrieval with no human annotation.
    """

    kind = "expansion"

    @classmethod
    def fit(cls, features: Features | np.ndarray, k: int | None = None, *, alpha: float = 2.0) -> Expansion:
        """Keep the vectors of the collection, among which neighbours are found.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        k : int, optional
            Number of neighbours that are added to a vector, at most N - 1; by default 5, or N - 1 if that is less.
        alpha : float, default 2
            Each neighbour is weighted by its cosine to this power: the greater, the less far neighbours count.

        Returns
        -------
        Expansion

        Raises
        ------
        QueryError
            If a parameter is out of range, there are fewer than two vectors, or some are not finite.
        """
        vectors, source, content = learned_from(features)
        k = check_k(k, len(vectors) - 1, "other pictures", 5)
        if not 0 <= as_number(alpha) < float("inf"):
            raise QueryError(f"alpha must be 0 or more, not {alpha!r}")
        return cls({"k": k, "alpha": float(alpha)}, {"vectors": vectors}, source, content)

    def __str__(self) -> str:
        return f"expanded {self.settings['k']}"

    @property
    def width(self) -> int:
        """The width D of the vectors that the transform accepts (int)."""
        return self.arrays["vectors"].shape[1]

    def move(self, vectors: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """Move vectors towards their nearest neighbours in the collection.

        Parameters
        ----------
        vectors : ndarray of shape (Q, D), float32
        own : ndarray of shape (Q,), int, optional
            For vectors of the collection: the row of each, which is not its neighbour.

        Returns
        -------
        ndarray of shape (Q, D), float32
            Of length 1.
        """
        base, moved = self.arrays["vectors"], l2_normalize(vectors)
        near = nearest(base, moved, self.settings["k"], "euclidean", own)[0]
        for start in range(0, len(moved), BLOCK):
            part = slice(start, start + BLOCK)
            block, others = moved[part], base[near[part]]
            weights = np.maximum(np.einsum("bd,bnd->bn", block, others), 0) ** self.settings["alpha"]
            moved[part] = l2_normalize(block + np.einsum("bn,bnd->bd", weights, others))
        return moved

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        return self.move(vectors)

    def _apply_to_own(self, features: Features) -> np.ndarray:
        return self.move(self.arrays["vectors"], np.arange(len(self.arrays["vectors"])))


def concatenate(parts: Sequence[Features]) -> Features:
    """Concatenate the vectors of several models or layers, each scaled to length 1.

    The cosine of two concatenated vectors is the mean of the cosines of their parts.

    Parameters
    ----------
    parts : sequence of Features
        Vectors of shape (N, D1), (N, D2), ..., of the same pictures in the same order.

    Returns
    -------
    Features
        Vectors of shape (N, D1 + D2 + ...), float32, of length 1.

    Raises
    ------
    QueryError
        If there are no parts, or they belong to different pictures.
    """
    return _combined("concatenate", same_pictures(parts))


def average(parts: Sequence[Features]) -> Features:
    """Average vectors of the same width, each scaled to length 1, such as those of several views of each picture.

    The models NAME@mirror and NAME@SIZE extract views, see `models.get`.

    Parameters
    ----------
    parts : sequence of Features
        Vectors of shape (N, D), of the same pictures in the same order.

    Returns
    -------
    Features
        Vectors of shape (N, D), float32, of length 1.

    Raises
    ------
    QueryError
        If there are no parts, or they belong to different pictures or differ in width.
    """
    widths = {part.vectors.shape[1] for part in same_pictures(parts)}
    if len(widths) > 1:
        raise QueryError(f"vectors of the widths {sorted(widths)} cannot be averaged: use concatenate")
    return _combined("average", parts)


def combine(op: str, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate or average arrays (N, D)."""
    scaled = [l2_normalize(part) for part in parts]
    return l2_normalize(np.concatenate(scaled, axis=1) if op == "concatenate" else sum(scaled))


def learned_from(features: Features | np.ndarray) -> tuple[np.ndarray, dict, str]:
    """Return vectors to fit a transform on, and what identifies them.

    Parameters
    ----------
    features : Features or ndarray of shape (N, D)

    Returns
    -------
    vectors : ndarray of shape (N, D), float32
        Scaled to length 1.
    fingerprint : dict
        Empty for an array.
    content : str
        See `Features.content`; empty for an array.

    Raises
    ------
    QueryError
        For fewer than two vectors, and for some that are not `measurable`.
    """
    source, content = {}, ""
    if isinstance(features, Features):
        source, content, features = dict(features.fingerprint), features.content, features.vectors
    vectors = as_vectors(features)
    if len(vectors) < 2:
        raise QueryError(f"a transform needs at least two vectors, not {len(vectors)}")
    return l2_normalize(vectors), source, content


def same_pictures(parts: Sequence[Features]) -> Sequence[Features]:
    """Check that features belong to the same pictures in the same order.

    Parameters
    ----------
    parts : sequence of Features

    Returns
    -------
    sequence of Features
        `parts`.

    Raises
    ------
    QueryError
        If there are no parts, or their ids or digests differ.
    """
    if isinstance(parts, Features) or not parts or not all(hasattr(part, "digests") for part in parts):
        raise QueryError("give at least one Features, in a list")
    if any(part.ids != parts[0].ids or part.digests != parts[0].digests for part in parts):
        raise QueryError("the features are not of the same pictures in the same order")
    return parts


def concatenated(parts: Sequence[Features]) -> tuple[dict, tuple]:
    """Say what made concatenated Features, without joining their vectors.

    Parameters
    ----------
    parts : sequence of Features

    Returns
    -------
    fingerprint : dict
        That of `concatenate(parts)`; empty if one of the parts has none.
    makers : tuple of Model and Transform
    """
    return _combined_by("concatenate", parts)


def _combined(op: str, parts: Sequence[Features]) -> Features:
    """Combine features, with the fingerprint of the result."""
    made_by, makers = _combined_by(op, parts)
    vectors = combine(op, [part.vectors for part in parts])
    return Features(vectors, parts[0].ids, parts[0].labels, made_by, parts[0].digests, makers)


def _combined_by(op: str, parts: Sequence[Features]) -> tuple[dict, tuple]:
    made_by = {}
    if all(part.fingerprint for part in parts):
        layers = dict.fromkeys(part.fingerprint["layer"] for part in parts)
        made_by = _node(op, parts, " + ".join(layers))
    return made_by, tuple({id(maker): maker for part in parts for maker in part.makers}.values())


def _node(kind: str, parts: Sequence[Features], layer: str) -> dict:
    """Make the fingerprint of a transform of `parts`."""
    names = dict.fromkeys(part.fingerprint["model"] for part in parts)
    return {"model": " + ".join(names), "layer": layer, "op": kind, "of": [dict(part.fingerprint) for part in parts]}


def _name(made_by: Mapping) -> str:
    return f"{made_by['model']} {made_by['layer']}" if made_by else "vectors without a model"
