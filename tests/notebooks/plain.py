"""Searches and their measures in plain numpy and double precision, against which the notebooks' numbers are checked."""

import numpy as np
import pandas as pd


def unit(vectors) -> np.ndarray:
    """The vectors, each of length 1."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def not_itself(similarity) -> np.ndarray:
    """Similarities (N, N) without those of each picture with itself."""
    similarity = np.array(similarity, dtype=np.float64)
    np.fill_diagonal(similarity, -np.inf)
    return similarity


def cosines(vectors) -> np.ndarray:
    return not_itself(unit(vectors) @ unit(vectors).T)


def neighbours(similarity, k=None) -> np.ndarray:
    """The rows (N, k) of the most similar pictures, by default of all others."""
    return np.argsort(-similarity, axis=1, kind="stable")[:, : k or len(similarity) - 1]


def measures(similarity, labels) -> pd.DataFrame:
    """P@1, P@5 and average precision of each query, from similarities (N, N) with -inf for what is not answered."""
    labels, order = np.array(labels), neighbours(similarity, len(similarity))
    right = (labels[order] == labels[:, None]) & np.isfinite(np.take_along_axis(similarity, order, axis=1))
    precision = right.cumsum(axis=1) / np.arange(1, len(labels) + 1)
    others = (labels[:, None] == labels).sum(axis=1) - 1
    average = (precision * right).sum(axis=1) / others
    return pd.DataFrame({"P@1": right[:, 0].astype(float), "P@5": right[:, :5].mean(axis=1), "mAP": average})


def stems(ids) -> list[str]:
    """The first word of each file name."""
    return [id.split("/")[-1].split("_")[0].split(".")[0] for id in ids]
