"""Transforms of features before indexing: concatenation, PCA and whitening.

The result is `Features` again; its fingerprint is a tree that says how it was made, so that an index can treat a new
picture in the same way.

Examples
--------
>>> import amulsearch as am
>>> features = am.Features([[1, 0, 2], [0, 3, 1], [2, 2, 1], [0, 1, 0]], ["a", "b", "c", "d"])
>>> am.transforms.PCA.fit(features, width=2, whiten=0.5)(features)
Features(own vectors: 4 x 2 float32)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from ..errors import QueryError, as_number, check_integer
from .features import Features, title
from .vectors import as_vectors, l2_normalize

__all__ = ["PCA", "concatenate"]


def __dir__() -> list[str]:
    return __all__.copy()


@dataclass(frozen=True, eq=False)
class PCA:
    """Principal components of vectors of length 1, optionally whitened, scaled to length 1 again.

    `PCA.fit` makes one from the features of a collection; calling it transforms them, or new vectors.

    settings: the width and the power of the whitening. mean: (D,) float32. axes: the components (W, D) float32, divided
    as `fit` says. source: the fingerprint of the features that it was fitted on, empty for your own vectors.
    """

    settings: Mapping
    mean: np.ndarray
    axes: np.ndarray
    source: Mapping

    @classmethod
    def fit(cls, features: Features | np.ndarray, width: int = 256, *, whiten: float = 0.0) -> PCA:
        """Make a PCA of the components with the greatest variance.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
            The vectors to learn from.
        width : int, default 256
            Number of components W; capped at D, N - 1 and, for more than two, N * 4 ** (1 - 2 * whiten), because the
            variances of the last components are underestimated where N is not much greater than W. Components without
            variance are dropped.
        whiten : float from 0 to 1, default 0
            Each component is divided by its standard deviation to this power: 0 does not whiten, 1 gives all
            components the same variance.

        References
        ----------
        Jégou & Chum 2012, Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening.
        Mukundan et al. 2019, Understanding and improving kernel local descriptors.
        Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices (the cap).
        """
        return cls.fit_all(features, width, [whiten])[0]

    @classmethod
    def fit_all(cls, features: Features | np.ndarray, width: int, powers: Sequence[float]) -> list[PCA]:
        """As `fit`, for several powers of the whitening, in the time of one."""
        source = {}
        if isinstance(features, Features):
            source, features = dict(features.fingerprint), features.vectors
        vectors = l2_normalize(as_vectors(features))
        if len(vectors) < 2:
            raise QueryError(f"a PCA needs at least two vectors, not {len(vectors)}")
        width = min(check_integer("width", width), vectors.shape[1], len(vectors) - 1)
        for power in powers:
            if not 0 <= as_number(power) <= 1:
                raise QueryError(f"whiten must be an exponent from 0 to 1, not {power!r}")
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
        axes, made = l2_normalize(axes[:, order].T), []
        for power in powers:
            most = min(width, max(2, int(len(vectors) * 4 ** (1 - 2 * power))))
            scaled = axes[:most] * (variances[order[:most]] ** (-power / 2))[:, None]
            made.append(cls({"width": most, "whiten": float(power)}, mean, scaled.astype(np.float32), source))
        return made

    def __call__(self, vectors: Features | np.ndarray) -> Features | np.ndarray:
        """Transform features, made as those that the PCA was fitted on, or vectors (N, D) to (N, W) of length 1."""
        if not isinstance(vectors, Features):
            vectors = as_vectors(vectors, len(self.mean))
            return l2_normalize((l2_normalize(vectors) - self.mean) @ self.axes.T)
        features = vectors
        if features.fingerprint != self.source:
            raise QueryError(f"this PCA was fitted on {title(self.source)}, not on {features.name}: fit another one")
        fingerprint = {}
        if features.fingerprint:
            node = _node("pca", [features], f"{features.fingerprint['layer']} {self}")
            fingerprint = {**node, **self.settings, "fitted": self.digest}
        return replace(
            features, vectors=self(features.vectors), fingerprint=fingerprint, makers=(*features.makers, self)
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that determines the result."""
        sha = hashlib.sha256(json.dumps(["pca", self.settings, self.source], sort_keys=True).encode())
        for name in ("axes", "mean"):
            sha.update(name.encode() + np.ascontiguousarray(getattr(self, name)).tobytes())
        return sha.hexdigest()

    def __repr__(self) -> str:
        whitened = f" whitened {self.settings['whiten']:g}" if self.settings["whiten"] else ""
        return f"PCA {self.settings['width']}{whitened}"


def concatenate(parts: Sequence[Features]) -> Features:
    """Concatenate the vectors of several models or layers, each scaled to length 1.

    The parts are Features (N, D1), (N, D2), ... of the same pictures in the same order, and the result is (N, D1 + D2 +
    ...), scaled to length 1. The cosine of two concatenated vectors is the mean of the cosines of their parts.
    """
    first = same_pictures(parts)[0]
    fingerprint, makers = combination(parts)
    vectors = joined([part.vectors for part in parts])
    return Features(vectors, first.ids, first.labels, fingerprint, first.digests, makers)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (N, D1), (N, D2), ... side by side, each scaled to length 1, and the whole too."""
    return l2_normalize(np.concatenate([l2_normalize(part) for part in parts], axis=1))


def combination(parts: Sequence[Features]) -> tuple[dict, tuple]:
    """The fingerprint of concatenated features, empty if a part has none, and their makers."""
    fingerprint = {}
    if all(part.fingerprint for part in parts):
        layers = dict.fromkeys(part.fingerprint["layer"] for part in parts)
        fingerprint = _node("concatenate", parts, " + ".join(layers))
    return fingerprint, tuple({id(maker): maker for part in parts for maker in part.makers}.values())


def _node(kind: str, parts: Sequence[Features], layer: str) -> dict:
    """The fingerprint of a transform of `parts`."""
    names = dict.fromkeys(part.fingerprint["model"] for part in parts)
    return {"model": " + ".join(names), "layer": layer, "op": kind, "of": [dict(part.fingerprint) for part in parts]}


def source_layers(fingerprint: Mapping) -> list[Mapping]:
    """The layers of networks from which a fingerprint says that vectors were made."""
    if "of" not in fingerprint:
        return [fingerprint]
    return [layer for part in fingerprint["of"] for layer in source_layers(part)]


def same_pictures(parts: Sequence[Features]) -> Sequence[Features]:
    """`parts`; QueryError if there are none, or they are not of the same pictures in the same order."""
    if isinstance(parts, Features) or not parts or not all(hasattr(part, "digests") for part in parts):
        raise QueryError("give at least one Features, in a list")
    if any(part.ids != parts[0].ids or part.digests != parts[0].digests for part in parts):
        raise QueryError("the features are not of the same pictures in the same order")
    return parts


def write_fitted(folder: Path, fitted: list[PCA]) -> list[dict]:
    """Write the arrays of PCAs to a folder, one .npy file each, and return what else `open_fitted` needs."""
    for place, pca in enumerate(fitted):
        np.save(folder / f"{place}.mean.npy", pca.mean, allow_pickle=False)
        np.save(folder / f"{place}.axes.npy", pca.axes, allow_pickle=False)
    return [{"settings": dict(pca.settings), "source": dict(pca.source), "digest": pca.digest} for pca in fitted]


def open_fitted(folder: Path, about: list[dict]) -> list[PCA]:
    """Open PCAs, their arrays as memory maps."""
    fitted = []
    for place, known in enumerate(about):
        mean, axes = (open_memmap(folder / f"{place}.{name}.npy", mode="r") for name in ("mean", "axes"))
        pca = PCA(known["settings"], mean, axes, known["source"])
        pca.__dict__["digest"] = known["digest"]  # computing it would read all arrays; `check` verifies the files
        fitted.append(pca)
    return fitted
