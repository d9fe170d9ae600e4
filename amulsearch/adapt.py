"""Learning what is alike: a small head on frozen features, taught by views, by labels or by any other relation.

A head is a `Transform` as PCA is: it is applied to features, kept beside an index and found again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from .errors import QueryError
from .evaluation import evaluate
from .features import Features
from .relevance import Relevance
from .search import check_whole
from .transforms import PCA, Transform, learned_from, same_pictures, unit

LOSSES = ("contrast", "triplet")


@dataclass(frozen=True)
class Course:
    """How a training goes.

    loss: "contrast": a picture must be nearer to those alike than to all others of its batch (Khosla et al. 2020,
        "Supervised contrastive learning"; with views only it is the loss of Chen et al. 2020, "SimCLR"); "triplet": a
        picture, one alike, and one that is not, which must be farther by a margin (Schroff, Kalenichenko & Philbin
        2015, "FaceNet"; taught by neighbours on a map in "Loc2Vec", Spruyt 2018).
    batch: pictures of a step, half of them drawn, each with another that is like it; epochs: at most, each shows about
        every picture once; patience: epochs without a gain on the part held back, after which the best is taken.
    held: the part that is held back to know when to stop: of the labels where there are labels, else of the pictures.
    rate: the step length of Adam; temperature: of the contrast; margin: of the triplet, in cosines; dropout: the part
        of the numbers of a vector that is left out at random in each step.
    """

    loss: str = "contrast"
    batch: int = 256
    epochs: int = 60
    patience: int = 8
    held: float = 0.2
    rate: float = 3e-4
    temperature: float = 0.1
    margin: float = 0.2
    dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise QueryError(f"unknown loss {self.loss!r}: use {' or '.join(LOSSES)}")
        for name in ("batch", "epochs", "patience"):
            check_whole(name, getattr(self, name), least=4 if name == "batch" else 1)
        check_whole("seed", self.seed, least=0)
        for name, low, high in (("held", 0, 1), ("dropout", -1e-9, 1), ("rate", 0, 1), ("temperature", 0, 10)):
            if not low < getattr(self, name) < high:
                raise QueryError(f"{name} must lie between {max(low, 0)} and {high}, not {getattr(self, name)!r}")


class Head(Transform):
    """A linear map of vectors scaled to length 1, scaled to length 1 again. Before the first step it is a `PCA`.

    `history`, a list with a row an epoch (loss, and the measure on the part held back), is there after fitting only.
    """

    kind = "head"
    history: list[dict] = []

    @classmethod
    def fit(
        cls,
        features: Features,
        relevance: Relevance,
        *,
        ids: Sequence[str] | None = None,
        width: int = 256,
        whiten: float = 0.5,
        course: Course | None = None,
        progress: bool = True,
    ) -> Head:
        """Learn from what is relevant to what: labels, keywords, judgements or neighbours, see `Relevance`.

        ids: the pictures that teach, all by default; of the others neither vectors nor relations are used.
        width, whiten: of the PCA that the head starts from, see `PCA.fit`.
        course: how long and by which loss, see `Course`.

        Raises QueryError where too few pictures are relevant to each other.
        """
        if features.ids != relevance.ids:
            raise QueryError("the features and the relevance are not of the same pictures in the same order")
        place = {id: row for row, id in enumerate(features.ids)}
        unknown = [id for id in ids or () if id not in place]
        if unknown:
            raise QueryError(f"no picture {unknown[0]!r} to learn from")
        rows = np.arange(len(place)) if ids is None else np.array(sorted(place[id] for id in set(ids)), dtype=np.int64)
        return cls._learn(
            features,
            np.asarray(features.vectors)[rows],
            part(relevance, rows),
            width,
            whiten,
            course,
            "labels" if any(relevance.labels) else "a relation",
            progress,
        )

    @classmethod
    def from_views(
        cls,
        features: Features,
        views: Sequence[Features],
        *,
        width: int = 256,
        whiten: float = 0.5,
        course: Course | None = None,
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
        vectors = np.concatenate([one.vectors for one in parts])
        return cls._learn(features, vectors, relevance, width, whiten, course, f"{len(parts)} views", progress)

    @classmethod
    def _learn(cls, features, vectors, relevance, width, whiten, course, taught_by: str, progress: bool) -> Head:
        course = course or Course()
        start = PCA.fit(vectors, min(width, len(vectors) - 1, vectors.shape[1]), whiten=whiten)
        axes, history = _train_linear(
            unit(vectors) - start.arrays["mean"], start.arrays["axes"], relevance, course, progress
        )
        settings = {"width": len(axes), "whiten": float(whiten), "taught_by": taught_by, **vars(course)}
        settings["stopped"] = max(range(len(history)), key=lambda epoch: history[epoch]["held back"])
        _, source, content = learned_from(features)
        head = cls(settings, {"mean": start.arrays["mean"], "axes": axes}, source, content)
        object.__setattr__(head, "history", history)
        return head

    def __str__(self) -> str:
        return f"head {self.settings['width']} by {self.settings['taught_by']}"

    @property
    def width(self) -> int:
        return len(self.arrays["mean"])

    def _apply(self, vectors: np.ndarray) -> np.ndarray:
        return unit((unit(vectors) - self.arrays["mean"]) @ self.arrays["axes"].T)


def part(relevance: Relevance, rows: np.ndarray) -> Relevance:
    """What is relevant to what among some pictures: those at these rows."""
    rows = np.asarray(rows, dtype=np.int64)
    ids, labels = [relevance.ids[row] for row in rows], [relevance.labels[row] for row in rows]
    return Relevance(ids, labels, lambda asked: relevance.grades(rows[asked])[:, rows])


def split(relevance: Relevance, course: Course) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows held back; a label, where there are labels, is whole on one side."""
    rng = np.random.default_rng(course.seed)
    labels = np.array([str(label) for label in relevance.labels], dtype=object)
    groups = sorted(set(labels)) if any(relevance.labels) else list(range(len(labels)))
    groups = np.array(groups, dtype=object)[rng.permutation(len(groups))]
    held = set(groups[: max(1, round(course.held * len(groups)))])
    of = labels if any(relevance.labels) else range(len(labels))
    back = np.array([one in held for one in of])
    return np.flatnonzero(~back), np.flatnonzero(back)


class Batches:
    """Steps of pictures to learn from: anchors drawn at random, and for each another one that is relevant to it."""

    def __init__(self, relevance: Relevance, rows: np.ndarray, course: Course):
        self.relevance, self.rows, self.course = relevance, rows, course
        self.rng = np.random.default_rng(course.seed + 1)
        some = []
        for start in range(0, len(rows), 256):
            block = rows[start : start + 256]
            alike = relevance.grades(block)[:, rows] > 0
            some.append((alike & (block[:, None] != rows)).any(axis=1))
        self.anchors = rows[np.concatenate(some)] if some else rows
        if len(self.anchors) < 4:
            raise QueryError("too few pictures are relevant to another one: there is nothing to learn from")

    def __len__(self) -> int:
        return max(1, len(self.anchors) * 2 // self.course.batch)

    def __iter__(self):
        """Rows (B,), the anchors first and then, in the same order, one that is like each; alike (B, B) bool."""
        order = self.rng.permutation(self.anchors)
        half = min(self.course.batch // 2, len(order))
        for start in range(0, len(self) * half, half):
            anchors = order[start : start + half]
            if len(anchors) < 2:
                return
            grades = self.relevance.grades(anchors)[:, self.rows] > 0
            grades &= anchors[:, None] != self.rows
            drawn = np.argmax(grades * self.rng.random(grades.shape, dtype=np.float32), axis=1)
            batch = np.concatenate([anchors, self.rows[drawn]])
            alike = (self.relevance.grades(batch)[:, batch] > 0) | (batch[:, None] == batch)
            np.fill_diagonal(alike, False)
            yield batch, alike


def loss_of(vectors, alike: np.ndarray, course: Course):
    """The loss, a scalar tensor, of a batch of unit vectors (B, D); alike (B, B) bool, see `Batches`."""
    import torch

    cosine, alike = vectors @ vectors.T, torch.from_numpy(alike).to(vectors.device)
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    if course.loss == "contrast":
        logits = (cosine / course.temperature).masked_fill(own, -1e9)
        share = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        return -((share * alike).sum(1) / alike.sum(1).clamp(min=1)).mean()
    half = len(vectors) // 2
    near = cosine[torch.arange(half), half + torch.arange(half)]
    far = cosine[:half].masked_fill(alike[:half] | own[:half], -1)
    hard = far.masked_fill(far >= near[:, None], -1).amax(1)  # the nearest that is farther than the one alike
    hard = torch.where(hard > -1, hard, far.amax(1))
    return torch.relu(hard - near + course.margin).mean()


def train(parameters, forward: Callable, measure: Callable, batches: Batches, course: Course, progress: bool):
    """Steps of Adam until `measure` has not grown for a while: the best values of the parameters, and the history.

    forward: from rows (B,) to unit vectors (B, D), a tensor; measure: without arguments, the greater the better.
    """
    import torch

    optimiser = torch.optim.AdamW(parameters, lr=course.rate, weight_decay=0)
    history = [{"loss": float("nan"), "held back": measure()}]
    best = [value.detach().clone() for value in parameters]
    with tqdm(range(course.epochs), desc="learn", unit="epoch", delay=2, disable=not progress) as bar:
        for _ in bar:
            losses = []
            for rows, alike in batches:
                optimiser.zero_grad()
                loss = loss_of(forward(rows), alike, course)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            history.append({"loss": float(np.mean(losses)), "held back": measure()})
            values = [row["held back"] for row in history]
            if values[-1] > max(values[:-1]):
                best = [value.detach().clone() for value in parameters]
            bar.set_postfix({"held back": f"{max(values):.3f}"})
            if len(values) - 1 - int(np.argmax(values)) >= course.patience:
                break
    return best, history


def _train_linear(vectors: np.ndarray, axes: np.ndarray, relevance: Relevance, course: Course, progress: bool):
    """The axes (W, D) after training, and the history; vectors (N, D), without their mean."""
    import torch

    from .networks import device

    torch.manual_seed(course.seed)
    learn, held = split(relevance, course)
    back, where = part(relevance, held), device()
    values = torch.from_numpy(vectors).to(where)
    weight = torch.from_numpy(np.array(axes)).to(where).requires_grad_()

    def forward(rows: np.ndarray):
        batch = torch.nn.functional.dropout(values[torch.from_numpy(rows).to(where)], course.dropout)
        return torch.nn.functional.normalize(batch @ weight.T, dim=1)

    def measure() -> float:
        made = vectors[held] @ weight.detach().cpu().numpy().T
        return float(evaluate(unit(made) @ unit(made).T, back).mean()["mAP"])

    (best,), history = train([weight], forward, measure, Batches(relevance, learn, course), course, progress)
    return best.cpu().numpy(), history
