"""Heads: a linear map on frozen features, learned from labels, from views, or from any other relevance.

A head is a `Transform`, like PCA: apply it to features; an index saves it beside its own file and loads it again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError, check_integer
from ..features import Features, Linear, l2_normalize, learned_from, same_pictures
from ..measure import Relevance, evaluate
from .training import Batches, TrainingConfig, split, train

ALIKE = 8
"""How many relevant pictures are paired with each picture to initialise a head."""


class Head(Linear):
    """A learned linear map: vectors are L2-normalised, centred, mapped and L2-normalised again.

    The map is initialised by a whitening that is learned from relevant pairs: directions in which relevant pictures
    differ count less. Gradient descent follows, for as long as the validation set improves. Make one with `Head.fit`
    or `Head.from_views`; call it with `Features`, or with an array (N, D), to get the same with vectors (N, W).

    Attributes
    ----------
    history : list of dict
        The state before training (with a `loss` of NaN), then one row per epoch: `loss`, and `validation mAP` from 0
        to 1. Set by fitting only; empty in a head that was loaded.
    settings : Mapping
        The parameters of the fit; ``settings["stopped"]`` is the epoch whose weights were kept (0: the initial ones).
    arrays : Mapping of str to ndarray
        `mean` (D,) and `axes` (W, D), both float32.

    References
    ----------
    Mikolajczyk & Matas 2007, Improving descriptors for fast tree matching by optimal linear projection.
    Radenović, Tolias & Chum 2018, Fine-tuning CNN image retrieval with no human annotation.
    """

    history: list[dict] = []

    @classmethod
    def fit(
        cls,
        features: Features,
        relevance: Relevance,
        *,
        ids: Sequence[str] | None = None,
        width: int = 512,
        whiten: float = 0.5,
        shrink: float = 1.0,
        config: TrainingConfig | None = None,
        progress: bool = True,
    ) -> Head:
        """Learn from a relevance: labels, keywords, judgements or neighbours.

        Parameters
        ----------
        features : Features
            Vectors (N, D).
        relevance : Relevance
            Of the same pictures in the same order.
        ids : sequence of str, optional
            The pictures to train with; by default, all of them. Neither the vectors nor the relevance of the others
            are used.
        width : int, default 512
            The width W of the vectors that the head returns; capped at D.
        whiten : float, default 0.5
            Power of the initial whitening, from 0 (none) to 1 (full).
        shrink : float, default 1.0
            How strongly the covariance of the differences between relevant pictures is shrunk towards a multiple of
            the identity; above 0. The fewer the pictures, the larger it should be.
        config : TrainingConfig, optional
            The loss and the schedule.
        progress : bool, default True
            Whether to show a progress bar.

        Returns
        -------
        Head

        Raises
        ------
        QueryError
            If an id is unknown, a parameter is out of range, the relevance is of other pictures, or too few pictures
            are relevant to each other.
        """
        if features.ids != relevance.ids:
            raise QueryError("the features and the relevance are not of the same pictures in the same order")
        place = {id: row for row, id in enumerate(features.ids)}
        unknown = [id for id in ids or () if id not in place]
        if unknown:
            raise QueryError(f"there is no picture {unknown[0]!r} in the features: give ids from features.ids")
        rows = np.arange(len(place)) if ids is None else np.array(sorted(place[id] for id in set(ids)), dtype=np.int64)
        taught_by = "labels" if any(relevance.labels) else "a relation"
        settings = {"width": width, "whiten": whiten, "shrink": shrink, "taught_by": taught_by}
        vectors = np.asarray(features.vectors)[rows]
        return cls._learn(features, vectors, relevance.subset(rows), settings, config or TrainingConfig(), progress)

    @classmethod
    def from_views(
        cls,
        features: Features,
        views: Sequence[Features],
        *,
        width: int = 512,
        whiten: float = 0.5,
        shrink: float = 1.0,
        config: TrainingConfig | None = None,
        progress: bool = True,
    ) -> Head:
        """Learn without labels, from several views of each picture: its views are relevant to each other.

        Parameters
        ----------
        features : Features
            Vectors (N, D).
        views : sequence of Features
            Vectors (N, D) of the same pictures from the same layer, seen differently: mirrored (`NAME@mirror`), at
            another size (`NAME@192`), or with another framing.
        width, whiten, shrink, config, progress
            As for `fit`.

        Returns
        -------
        Head

        Raises
        ------
        QueryError
            If no view is given, the views differ in width or in their pictures, or a parameter is out of range.
        """
        parts = same_pictures([features, *views])
        if len(parts) < 2 or len({one.vectors.shape[1] for one in parts}) > 1:
            raise QueryError("give at least one view, with vectors of the same width as the features")
        names = [f"{id} {view}" for view in range(len(parts)) for id in features.ids]
        relevance = Relevance.from_labels(names, features.ids * len(parts))
        settings = {"width": width, "whiten": whiten, "shrink": shrink, "taught_by": f"{len(parts)} views"}
        vectors = np.concatenate([one.vectors for one in parts])
        return cls._learn(features, vectors, relevance, settings, config or TrainingConfig(), progress)

    @classmethod
    def _learn(cls, features, vectors, relevance, settings: dict, config: TrainingConfig, progress: bool) -> Head:
        settings["width"] = min(check_integer("width", settings["width"]), vectors.shape[1])
        if not 0 <= settings["whiten"] <= 1 or not settings["shrink"] > 0:
            raise QueryError("whiten must be a power from 0 to 1, and shrink a number above 0")
        vectors, _, _ = learned_from(vectors)
        learn, held = split(relevance, config)
        batches, mean = Batches(relevance, learn, config), vectors[learn].mean(axis=0)
        axes = _whitening(vectors - mean, batches, settings)
        axes, stopped, history = _train_linear(vectors - mean, axes, batches, relevance.subset(held), held, progress)
        _, source, content = learned_from(features)
        head = cls({**settings, **vars(config), "stopped": stopped}, {"mean": mean, "axes": axes}, source, content)
        object.__setattr__(head, "history", history)
        return head

    def __str__(self) -> str:
        return f"head {self.settings['width']} by {self.settings['taught_by']}"


def _whitening(vectors: np.ndarray, batches: Batches, settings: dict) -> np.ndarray:
    """The initial axes (W, D) float32, scaled to a mean length of 1, from centred vectors (N, D)."""
    width = vectors.shape[1]
    differ, count = np.zeros((width, width)), 0
    for one, other in batches.pairs(ALIKE):
        change = vectors[one] - vectors[other]
        differ, count = differ + change.T @ change, count + len(change)
    differ = differ / (2 * count)
    differ += settings["shrink"] * max(np.trace(differ) / width, 1e-12) * np.eye(width)
    values, turned = np.linalg.eigh(differ)
    whiten = (turned * values ** (-settings["whiten"] / 2)) @ turned.T
    spread = (vectors[batches.rows] @ whiten).astype(np.float64)
    axes = np.linalg.eigh(spread.T @ spread)[1][:, ::-1][:, : settings["width"]].T @ whiten
    return (axes / np.linalg.norm(axes, axis=1).mean()).astype(np.float32)


def _train_linear(vectors: np.ndarray, axes: np.ndarray, batches: Batches, back: Relevance, held, progress: bool):
    """Train the axes (W, D); returns them, their epoch and the history. `held`: the rows of `back` in the vectors."""
    import torch

    from ..models import device

    config = batches.config
    torch.manual_seed(config.seed)
    where = device()
    values = torch.from_numpy(vectors).to(where)
    weight = torch.from_numpy(axes).to(where).requires_grad_()

    def forward(rows: np.ndarray):
        batch = torch.nn.functional.dropout(values[torch.from_numpy(rows).to(where)], config.dropout)
        return torch.nn.functional.normalize(batch @ weight.T, dim=1)

    def measure() -> float:
        made = l2_normalize(vectors[held] @ weight.detach().cpu().numpy().T)
        return float(evaluate(made @ made.T, back).mean()["mAP"])

    (best,), stopped, history = train([weight], forward, measure, batches, config, progress)
    return best.cpu().numpy(), stopped, history
