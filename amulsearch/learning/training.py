"""How a training goes, whatever is trained: batches of pictures that are alike, a loss, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ..errors import QueryError, check_integer
from ..measure import Relevance

LOSSES = ("contrastive", "triplet")


@dataclass(frozen=True)
class TrainingConfig:
    """How a training goes.

    loss: "contrastive": a picture must be nearer to those alike than to all others of its batch (Khosla et al. 2020,
        "Supervised contrastive learning"; with views only it is the loss of Chen et al. 2020, "SimCLR"); "triplet": a
        picture, one alike, and one that is not, which must be farther by a margin (Schroff, Kalenichenko & Philbin
        2015, "FaceNet"; taught by neighbours on a map in "Loc2Vec", Spruyt 2018).
    batch: pictures of a step, half of them drawn, each with another that is like it; epochs: at most, each shows about
        every picture once; patience: epochs without a gain on the part held back, after which the best is taken;
        None goes through all epochs and takes the last.
    held: the part that is held back to know when to stop: of the labels where there are labels, else of the pictures.
    rate: the step length of Adam; temperature: of the contrast; margin: of the triplet, in cosines; dropout: the part
        of the numbers of a vector that is left out at random in each step.
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
    """Rows to learn from and rows held back; a label, where there are labels, is whole on one side."""
    rng = np.random.default_rng(config.seed)
    labels = np.array([str(label) for label in relevance.labels], dtype=object)
    groups = sorted(set(labels)) if any(relevance.labels) else list(range(len(labels)))
    groups = np.array(groups, dtype=object)[rng.permutation(len(groups))]
    held = set(groups[: max(1, round(config.validation_fraction * len(groups)))])
    of = labels if any(relevance.labels) else range(len(labels))
    back = np.array([one in held for one in of])
    return np.flatnonzero(~back), np.flatnonzero(back)


class Batches:
    """Steps of pictures to learn from: anchors drawn at random, and for each another one that is relevant to it."""

    def __init__(self, relevance: Relevance, rows: np.ndarray, config: TrainingConfig):
        self.relevance, self.rows, self.config = relevance, rows, config
        self.rng = np.random.default_rng(config.seed + 1)
        some = [self._alike(rows[start : start + 256]).any(axis=1) for start in range(0, len(rows), 256)]
        self.anchors = rows[np.concatenate(some)] if some else rows
        if len(self.anchors) < 4:
            raise QueryError("too few pictures are relevant to another one: there is nothing to learn from")

    def _alike(self, anchors: np.ndarray) -> np.ndarray:
        """Which others of the rows to learn from are relevant to each of these, (B, R) bool."""
        return (self.relevance.grades(anchors)[:, self.rows] > 0) & (anchors[:, None] != self.rows)

    def pairs(self, most: int):
        """Rows (P,) and as many (P,) that are relevant to them, up to `most` for each picture, drawn at random."""
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
        """Rows (B,), the anchors first and then, in the same order, one that is like each; alike (B, B) bool."""
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
    """The loss, a scalar tensor, of a batch of unit vectors (B, D); alike (B, B) bool, see `Batches`."""
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
    hard = far.masked_fill(far >= near[:, None], -1).amax(1)  # the nearest that is farther than the one alike
    hard = torch.where(hard > -1, hard, far.amax(1))
    return torch.relu(hard - near + config.margin).mean()


def train(parameters, forward: Callable, measure: Callable, batches: Batches, config: TrainingConfig, progress: bool):
    """Steps of Adam until `measure` has not grown for a while: the values of the parameters, of which epoch, history.

    forward: from rows (B,) to unit vectors (B, D), a tensor; measure: without arguments, the greater the better.
    """
    import torch

    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0)
    try:
        history = [{"loss": float("nan"), "validation mAP": measure()}]
    except QueryError:
        raise QueryError(
            "no two of the pictures held back are alike, so nothing tells when to stop: teach with more pictures, or "
            "hold back a larger part, TrainingConfig(validation_fraction=0.4)"
        ) from None
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
