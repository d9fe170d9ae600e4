"""The right answers to the exercises of lesson 0, computed with vectors alone: no index and no panel."""

from pathlib import PurePosixPath

import numpy as np

import amulsearch as am


def nearest(features, model, query, k):
    """The ids of the k pictures whose vectors have the largest cosine with that of a query, an id or a picture."""
    found = features[model, "penultimate"]
    vectors = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    own = query if isinstance(query, str) else None
    asked = vectors[found.ids.index(own)] if own else am.embed([query], model, "penultimate")["penultimate"][0]
    return [found.ids[row] for row in np.argsort(-(vectors @ asked), kind="stable") if found.ids[row] != own][:k]


def networks(features):
    """The names of the networks."""
    return list(dict.fromkeys(model for model, _ in features))


def cats_first(features, picture):
    """For how many networks the first neighbour of a picture lies in a folder of cats."""
    first = [nearest(features, model, picture, 1)[0] for model in networks(features)]
    return sum(PurePosixPath(id).parent.name in ("big_cats", "housecats") for id in first)


def kept_without_colour(features, picture, k):
    """How many of the last network's first k neighbours of a picture are among those of its grey version."""
    grey = picture.convert("L").convert("RGB")
    of_colour, of_grey = (nearest(features, networks(features)[-1], one, k) for one in (picture, grey))
    return len(set(of_colour) & set(of_grey))


def in_the_same_folder(features, queries, k):
    """For each query, how many of the last network's first k neighbours lie in its folder."""
    found = {query: nearest(features, networks(features)[-1], query, k) for query in queries}
    return [sum(PurePosixPath(id).parent == PurePosixPath(query).parent for id in ids) for query, ids in found.items()]
