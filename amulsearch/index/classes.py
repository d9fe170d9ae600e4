"""Searching by concept: what a network takes for a missile, and what it takes two pictures for alike."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..errors import QueryError, check_k
from ..features import Features

IMAGENET = 1000
"""How many classes the networks of the table know."""


def list_classes(containing: str = "", names: Sequence[str] | None = None) -> pd.DataFrame:
    """The classes whose name holds `containing`, whether in capitals or not: number, name.

    names: the names of the classes, by default ImageNet's 1,000.

    Raises QueryError with the names that are spelled alike where there is none.
    """
    names = _names(names)
    found = [(number, name) for number, name in enumerate(names) if containing.strip().lower() in name.lower()]
    if not found:
        near = get_close_matches(containing.strip().lower(), [name.lower() for name in names], n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "am.indexes.list_classes() lists them all"
        raise QueryError(f"no class is named like {containing!r}: {hint}")
    return pd.DataFrame(found, columns=["number", "name"])


def find_class(category: str | int, count: int = IMAGENET, names: Sequence[str] | None = None) -> tuple[int, str]:
    """The number and the name of a class of a network that knows `count`.

    category: its number, its name, or a part of its name that no other name holds. Without `names`, a network that
        does not know 1,000 classes has them by number only.

    Raises QueryError with the candidates for a part of several names, and with similar names for an unknown one.
    """
    if isinstance(category, (int, np.integer)) and not isinstance(category, bool):
        if not 0 <= category < count:
            raise QueryError(f"there is no class {category}: the network has 0 to {count - 1}")
        known = names is not None or count == IMAGENET
        return int(category), _names(names)[category] if known else f"class {category}"
    names = _names(names)
    if len(names) != count:
        raise QueryError(f"the network has {count} classes, and {len(names)} names are known: give a class by number")
    found = list_classes(category, names)
    same = found[found["name"].str.lower() == category.strip().lower()]
    if len(same) != 1 and len(found) > 1:
        listed = ", ".join(f"{row.name} ({row.number})" for row in found.head(12).itertuples(index=False))
        raise QueryError(f"{category!r} is in the names of {len(found)} classes, choose one: {listed}")
    row = (same if len(same) == 1 else found).iloc[0]
    return int(row["number"]), str(row["name"])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits (N, C): (N, C) float32, each row adds up to 1."""
    logits = np.asarray(logits, dtype=np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def query_class(
    features: Features, category: str | int, k: int = 12, *, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """The pictures that a network most takes for a class: rank, id, score (its probability), label, model, layer.

    features: of the layer "logits". category: see `find_class`; names: those of the classes, by default ImageNet's.
    """
    if features.fingerprint.get("layer", "logits") != "logits":
        raise QueryError(f"a concept is looked up in logits, not in {features.name}: extract the layer logits")
    number, _ = find_class(category, features.vectors.shape[1], names)
    k = check_k(k, len(features))
    score = probabilities(features.vectors)[:, number]
    order = np.argsort(-score, kind="stable")[:k]
    made_by = [features.fingerprint.get("model"), features.fingerprint.get("layer")]
    return pd.DataFrame(
        {
            "rank": np.arange(1, k + 1),
            "id": pd.Series([features.ids[row] for row in order], dtype=object),
            "score": score[order].astype(np.float64),
            "label": pd.Series([features.labels[row] for row in order], dtype=object),
            "model": pd.Series([made_by[0]] * k, dtype=object),
            "layer": pd.Series([made_by[1]] * k, dtype=object),
        }
    )


def shared_classes(
    query: np.ndarray, match: np.ndarray, k: int = 3, *, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """What a network takes both of two pictures for: number, name, query and match (probabilities), most shared first.

    query, match: logits (C,), as `features.vector(id)` gives them. A class is shared as far as the picture that shows
    it less has it: they are ordered by the lesser of the two probabilities.
    """
    query, match = (np.asarray(logits, dtype=np.float32) for logits in (query, match))
    if query.ndim != 1 or query.shape != match.shape:
        raise QueryError(f"two vectors of logits are of the same length, not {query.shape} and {match.shape}")
    of = probabilities(np.stack([query, match]))  # (2, C)
    order = np.argsort(-of.min(axis=0), kind="stable")[: check_k(k, len(query), "classes")]
    rows = [(*find_class(number, len(query), names), float(of[0, number]), float(of[1, number])) for number in order]
    return pd.DataFrame(rows, columns=["number", "name", "query", "match"])


def _names(names: Sequence[str] | None) -> Sequence[str]:
    if names is not None:
        return names
    from ..models import categories

    return categories()
