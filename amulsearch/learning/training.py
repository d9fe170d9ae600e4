"""The training loop, whatever is trained: batches of relevant pictures, the losses, and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import QueryError, check_integer, check_k
from ..measure import Relevance

LOSSES = ("contrastive", "triplet")


@dataclass(frozen=True)
class TrainingConfig:
    """The loss and the schedule of `Head.fit`, `Head.from_views` and `fine_tune`.

    Parameters
    ----------
    loss : {"contrastive", "triplet"}, default "contrastive"
        "contrastive": each picture must be nearer to the relevant pictures of its batch than to all others; with views
        only, this is the loss of SimCLR. "triplet": of a picture, a relevant one and one that is not, the last must be
        farther away by `margin`.
    batch_size : int, default 256
        Pictures per step, at least 4: half of them are sampled at random, each with a picture relevant to it.
    epochs : int, default 60
        The most epochs; an epoch shows each picture about once.
    patience : int or None, default 8
        Stop after this many epochs without a gain in mAP on the validation set, and keep the best epoch. None runs all
        epochs and keeps the last.
    validation_fraction : float, default 0.2
        Fraction that forms the validation set, between 0 and 1: of the labels if there are labels, otherwise of the
        pictures.
    learning_rate : float, default 3e-4
        Learning rate of Adam.
    temperature : float, default 0.1
        Temperature of the contrastive loss.
    margin : float, default 0.2
        Margin of the triplet loss, as a difference of cosines.
    dropout : float, default 0.2
        Fraction of the numbers of a vector that each step sets to zero at random. Heads only.
    seed : int, default 0
        Seed of the split, the batches and the dropout.

    Raises
    ------
    QueryError
        If a value is out of range.

    References
    ----------
    Khosla et al. 2020, Supervised contrastive learning.
    Chen et al. 2020, A simple framework for contrastive learning of visual representations (SimCLR).
    Schroff, Kalenichenko & Philbin 2015, FaceNet: a unified embedding for face recognition and clustering.
    Spruyt 2018, Loc2Vec: learning location embeddings with triplet-loss networks.
    """

    loss: str = "contrastive"
    batch_size: int = 256
    epochs: int = 60
    patience: int | None = 8
    validation_fraction: float = 0.2
    learning_rate: float = 3e-4
    temperature: float = 0.1
    margin: float = 0.2
    dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise QueryError(f"unknown loss {self.loss!r}: use {' or '.join(LOSSES)}")
        for name in ("batch_size", "epochs", *(["patience"] if self.patience is not None else [])):
            check_integer(name, getattr(self, name), least=4 if name == "batch_size" else 1)
        check_integer("seed", self.seed, least=0)
        for name, low, high in (
            ("validation_fraction", 0, 1),
            ("dropout", -1e-9, 1),
            ("learning_rate", 0, 1),
            ("temperature", 0, 10),
        ):
            if not low < getattr(self, name) < high:
                raise QueryError(f"{name} must lie between {max(low, 0)} and {high}, not {getattr(self, name)!r}")


def split(relevance: Relevance, config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and validation rows, (R,) each; pictures with the same label stay on the same side."""
    rng = np.random.default_rng(config.seed)
    labels = np.array([str(label) for label in relevance.labels], dtype=object)
    groups = sorted(set(labels)) if any(relevance.labels) else list(range(len(labels)))
    groups = np.array(groups, dtype=object)[rng.permutation(len(groups))]
    held = set(groups[: max(1, round(config.validation_fraction * len(groups)))])
    of = labels if any(relevance.labels) else range(len(labels))
    back = np.array([one in held for one in of])
    return np.flatnonzero(~back), np.flatnonzero(back)


def split_labels(relevance: Relevance, count: int | None = None, *, seed: int = 0) -> tuple[list[str], list[str]]:
    """Divide the labelled pictures for training and testing, so that no label is on both sides.

    Parameters
    ----------
    relevance : Relevance
        With labels. Pictures whose label no other picture has are on neither side.
    count : int, optional
        How many labels are for training; by default half of them. With the same seed, fewer labels are a part of more.
    seed : int, default 0
        Of the order of the labels.

    Returns
    -------
    train, test : list of str
        The ids of the pictures with the first `count` labels, and of those with the others, in the order of
        `relevance.ids`.

    Raises
    ------
    QueryError
        If fewer than two labels have two pictures or more, or `count` leaves one side empty.
    """
    labels = pd.Series(relevance.labels, index=relevance.ids, dtype=object).dropna()
    labels = labels[labels.duplicated(keep=False)]
    names = np.array(sorted(set(labels)), dtype=object)
    if len(names) < 2:
        raise QueryError(
            f"{len(names)} labels have two pictures or more, too few to divide: sort the pictures into more folders"
        )
    count = len(names) // 2 if count is None else check_k(count, len(names) - 1, "labels that leave one for testing")
    trained = labels.isin(names[np.random.default_rng(seed).permutation(len(names))[:count]])
    return labels.index[trained].tolist(), labels.index[~trained].tolist()


class Batches:
    """Batches of training pictures: randomly sampled anchors, and for each a picture that is relevant to it."""

    def __init__(self, relevance: Relevance, rows: np.ndarray, config: TrainingConfig):
        self.relevance, self.rows, self.config = relevance, rows, config
        self.rng = np.random.default_rng(config.seed + 1)
        some = [self._alike(rows[start : start + 256]).any(axis=1) for start in range(0, len(rows), 256)]
        self.anchors = rows[np.concatenate(some)] if some else rows
        if len(self.anchors) < 4:
            raise QueryError("too few pictures are relevant to each other: give more pictures, or another relevance")

    def _alike(self, anchors: np.ndarray) -> np.ndarray:
        """Which of the training rows are relevant to each anchor, (B, R) bool; never the anchor itself."""
        return (self.relevance.grades(anchors)[:, self.rows] > 0) & (anchors[:, None] != self.rows)

    def pairs(self, most: int):
        """Yield rows (P,) and rows relevant to them (P,): up to `most` for each picture, sampled at random."""
        rng = np.random.default_rng(self.config.seed)
        for start in range(0, len(self.anchors), 256):
            anchors = self.anchors[start : start + 256]
            alike = self._alike(anchors)
            drawn = alike * rng.random(alike.shape, dtype=np.float32)
            few = np.argsort(-drawn, axis=1)[:, :most]
            place, at = np.nonzero(np.take_along_axis(drawn, few, axis=1) > 0)
            yield anchors[place], self.rows[few[place, at]]

    def __len__(self) -> int:
        return max(1, len(self.anchors) * 2 // self.config.batch_size)

    def __iter__(self):
        """Yield rows (B,), the anchors and then, in the same order, a relevant row for each; and alike (B, B) bool."""
        order = self.rng.permutation(self.anchors)
        half = min(self.config.batch_size // 2, len(order))
        for start in range(0, len(self) * half, half):
            anchors = order[start : start + half]
            if len(anchors) < 2:
                return
            others = self._alike(anchors)
            drawn = np.argmax(others * self.rng.random(others.shape, dtype=np.float32), axis=1)
            batch = np.concatenate([anchors, self.rows[drawn]])
            alike = (self.relevance.grades(batch)[:, batch] > 0) | (batch[:, None] == batch)
            np.fill_diagonal(alike, False)
            yield batch, alike


def loss_of(vectors, alike: np.ndarray, config: TrainingConfig):
    """The loss of a batch of unit vectors (B, D), as a scalar tensor; alike (B, B) bool as `Batches` yields it."""
    import torch

    cosine, alike = vectors @ vectors.T, torch.from_numpy(alike).to(vectors.device)
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    if config.loss == "contrastive":
        logits = (cosine / config.temperature).masked_fill(own, -1e9)
        share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        return -((share * alike).sum(1) / alike.sum(1).clamp(min=1)).mean()
    half = len(vectors) // 2
    near = cosine[torch.arange(half), half + torch.arange(half)]
    far = cosine[:half].masked_fill(alike[:half] | own[:half], -1)
    hard = far.masked_fill(far >= near[:, None], -1).amax(1)  # the nearest of those farther than the relevant one
    hard = torch.where(hard > -1, hard, far.amax(1))
    return torch.relu(hard - near + config.margin).mean()


def train(parameters, forward: Callable, measure: Callable, batches: Batches, config: TrainingConfig, progress: bool):
    """Train with Adam and early stopping; returns the kept parameters, their epoch, and the history.

    `forward` maps rows (B,) to a tensor of unit vectors (B, D); `measure()` is the validation mAP.
    """
    import torch

    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0)
    history = [{"loss": float("nan"), "validation mAP": measure()}]
    if np.isnan(history[0]["validation mAP"]):
        raise QueryError(
            "no two pictures of the validation set are relevant to each other: train with more pictures, or enlarge "
            "the validation set, for example TrainingConfig(validation_fraction=0.4)"
        )
    best, kept = [value.detach().clone() for value in parameters], 0
    with tqdm(range(config.epochs), desc="learn", unit="epoch", delay=2, disable=not progress) as bar:
        for epoch in bar:
            losses = []
            for rows, alike in batches:
                optimiser.zero_grad()
                loss = loss_of(forward(rows), alike, config)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            history.append({"loss": float(np.mean(losses)), "validation mAP": measure()})
            if config.patience is None or history[-1]["validation mAP"] > history[kept]["validation mAP"]:
                best, kept = [value.detach().clone() for value in parameters], epoch + 1
            bar.set_postfix({"validation mAP": f"{history[kept]['validation mAP']:.3f}"})
            if config.patience is not None and epoch + 1 - kept >= config.patience:
                break
    return best, kept, history
