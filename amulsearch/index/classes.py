"""Search by class: the pictures that a network assigns to a class, and the classes that two pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..errors import QueryError, check_k
from ..features import Features
from .neighbours import neighbours

IMAGENET = 1000
"""The number of classes of the networks in the model table."""


def list_classes(containing: str = "", names: Sequence[str] | None = None) -> pd.DataFrame:
    """List the classes whose name contains a text.

    Parameters
    ----------
    containing : str, default ""
        Case does not matter; the default lists all classes.
    names : sequence of str, optional
        The names of the classes, by default the 1,000 of ImageNet.

    Returns
    -------
    DataFrame
        Columns number (from 0) and name.

    Raises
    ------
    QueryError
        If no name contains the text; the message suggests similar names.
    """
    names = _names(names)
    found = [(number, name) for number, name in enumerate(names) if containing.strip().lower() in name.lower()]
    if not found:
        near = get_close_matches(containing.strip().lower(), [name.lower() for name in names], n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "am.indexes.list_classes() lists them all"
        raise QueryError(f"no class name contains {containing!r}: {hint}")
    return pd.DataFrame(found, columns=["number", "name"])


def find_class(category: str | int, count: int = IMAGENET, names: Sequence[str] | None = None) -> tuple[int, str]:
    """Look up the number and the name of a class.

    Parameters
    ----------
    category : str or int
        The number of the class, its name, or a part of its name that no other name contains.
    count : int, default 1000
        The number of classes of the network.
    names : sequence of str, optional
        The names of the classes, by default those of ImageNet. Without names, the classes of a network that does not
        have 1,000 can be given by number only.

    Returns
    -------
    number : int
    name : str

    Raises
    ------
    QueryError
        For an unknown class, or a part of several names; the message lists candidates.
    """
    if isinstance(category, (int, np.integer)) and not isinstance(category, bool):
        if not 0 <= category < count:
            raise QueryError(f"there is no class {category}: the classes of the network are numbered 0 to {count - 1}")
        known = names is not None or count == IMAGENET
        return int(category), _names(names)[category] if known else f"class {category}"
    names = _names(names)
    if len(names) != count:
        raise QueryError(f"the network has {count} classes, but {len(names)} names are known: give the class by number")
    found = list_classes(category, names)
    same = found[found["name"].str.lower() == category.strip().lower()]
    if len(same) != 1 and len(found) > 1:
        listed = ", ".join(f"{row.name} ({row.number})" for row in found.head(12).itertuples(index=False))
        raise QueryError(f"{category!r} matches {len(found)} classes, choose one: {listed}")
    row = (same if len(same) == 1 else found).iloc[0]
    return int(row["number"]), str(row["name"])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits (N, C): (N, C) float32, each row sums to 1."""
    logits = np.asarray(logits, dtype=np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def query_class(
    features: Features, category: str | int, k: int = 12, *, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Find the pictures to which a network gives the highest probability of a class.

    Parameters
    ----------
    features : Features
        Of the layer "logits".
    category : str or int
        See `find_class`.
    k : int, default 12
    names : sequence of str, optional
        The names of the classes, by default those of ImageNet.

    Returns
    -------
    DataFrame with k rows
        Columns rank (from 1), id, score (the probability of the class, from 0 to 1), label, model, layer.

    Raises
    ------
    QueryError
        For features of another layer, an unknown class, or k over the number of pictures.
    """
    if features.fingerprint.get("layer", "logits") != "logits":
        raise QueryError(f"a class is looked up in logits, not in {features.name}: extract the layer logits")
    number, _ = find_class(category, features.vectors.shape[1], names)
    k = check_k(k, len(features))
    score = probabilities(features.vectors)[:, number]
    order = np.argsort(-score, kind="stable")[:k]
    ids, labels = [features.ids[row] for row in order], [features.labels[row] for row in order]
    made_by = features.fingerprint
    return neighbours(ids, score[order], labels, made_by.get("model"), made_by.get("layer"), measure="score")


def shared_classes(
    query: np.ndarray, match: np.ndarray, k: int = 3, *, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Find the classes that a network assigns to both of two pictures.

    Parameters
    ----------
    query, match : ndarray of shape (C,)
        The logits of the two pictures, as `features.vector(id)` returns them.
    k : int, default 3
    names : sequence of str, optional
        The names of the classes, by default those of ImageNet.

    Returns
    -------
    DataFrame with k rows
        Columns number, name, query and match (the probabilities of the class in each picture). The rows are in
        descending order of the lesser of the two probabilities.

    Raises
    ------
    QueryError
        If the vectors differ in length, or k is over the number of classes.
    """
    query, match = (np.asarray(logits, dtype=np.float32) for logits in (query, match))
    if query.ndim != 1 or query.shape != match.shape:
        raise QueryError(
            f"two vectors of logits must have the same length, not the shapes {query.shape} and {match.shape}"
        )
    of = probabilities(np.stack([query, match]))  # (2, C)
    order = np.argsort(-of.min(axis=0), kind="stable")[: check_k(k, len(query), "classes")]
    rows = [(*find_class(number, len(query), names), float(of[0, number]), float(of[1, number])) for number in order]
    return pd.DataFrame(rows, columns=["number", "name", "query", "match"])


def _names(names: Sequence[str] | None) -> Sequence[str]:
    if names is not None:
        return names
    from ..models import categories

    return categories()
