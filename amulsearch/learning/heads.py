"""Learning what is alike: a small head on frozen features, taught by views, by labels or by any other relation.

A head is a `Transform` as PCA is: it is applied to features, kept beside an index and found again with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import QueryError, check_integer
from ..features import Features, Linear, l2_normalize, learned_from, same_pictures
from ..measure import Relevance, evaluate
from .training import Batches, TrainingConfig, split, train

ALIKE = 8
"""How many others that are alike are compared with a picture for the start of a head."""


class Head(Linear):
    """A linear map of vectors scaled to length 1, less their mean, scaled to length 1 again.

    It starts as a whitening that is learned from the pictures that are alike: directions in which they differ count
    less (Mikolajczyk & Matas 2007, "Improving descriptors for fast tree matching by optimal linear projection"; as in
    Radenovic, Tolias & Chum 2018). Steps of gradients follow, as long as they help pictures that are held back.

    `history`, a list with a row an epoch (loss, and the measure on the part held back), is there after fitting only.
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
        """Learn from what is relevant to what: labels, keywords, judgements or neighbours, see `Relevance`.

        ids: the pictures that teach, all by default; of the others neither vectors nor relations are used.
        width: of the vectors that come out; at most that of the features.
        whiten: the power of the whitening at the start, 0 for none to 1; shrink: how far the differences are taken to
            be the same in all directions, the more the fewer pictures teach.
        config: how long and by which loss, see `TrainingConfig`.

        Raises QueryError where too few pictures are relevant to each other.
        """
        if features.ids != relevance.ids:
            raise QueryError("the features and the relevance are not of the same pictures in the same order")
        place = {id: row for row, id in enumerate(features.ids)}
        unknown = [id for id in ids or () if id not in place]
        if unknown:
            raise QueryError(f"no picture {unknown[0]!r} to learn from")
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
        """Learn without labels that a picture is still itself when it is seen otherwise.

        views: the features of the same pictures by the same layer, mirrored (`NAME@mirror`), at another size
            (`NAME@192`) or with another framing. The other parameters as for `fit`.
        """
        parts = same_pictures([features, *views])
        if len(parts) < 2 or len({one.vectors.shape[1] for one in parts}) > 1:
            raise QueryError("give at least one view, of the same width as the features")
        names = [f"{id} {view}" for view in range(len(parts)) for id in features.ids]
        relevance = Relevance.from_labels(names, features.ids * len(parts))
        settings = {"width": width, "whiten": whiten, "shrink": shrink, "taught_by": f"{len(parts)} views"}
        vectors = np.concatenate([one.vectors for one in parts])
        return cls._learn(features, vectors, relevance, settings, config or TrainingConfig(), progress)

    @classmethod
    def _learn(cls, features, vectors, relevance, settings: dict, config: TrainingConfig, progress: bool) -> Head:
        settings["width"] = min(check_integer("width", settings["width"]), vectors.shape[1])
        if not 0 <= settings["whiten"] <= 1 or not settings["shrink"] > 0:
            raise QueryError("whiten is a power from 0 to 1, and shrink a number above 0")
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
    """The axes (W, D) float32, of length 1 in the mean; vectors (N, D) less their mean."""
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
    """The axes (W, D) after training, the epoch they are of, the history; held: the rows of `back` in the vectors."""
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
