"""The right answers to the exercises of lesson 12, with numpy where it is short."""

import numpy as np
import pandas as pd
from PIL import ImageOps

import amulsearch as am


def ranked(features, vector):
    """All ids by the cosine with a vector, largest first."""
    vectors = features.vectors / np.linalg.norm(features.vectors, axis=1, keepdims=True)
    return [features.ids[row] for row in np.argsort(-(vectors @ vector), kind="stable")]


def right_half(cartoons, features, id):
    """The id of the second neighbour of the right half of a picture."""
    picture = cartoons.open(id)
    right = picture.crop((picture.width // 2, 0, picture.width, picture.height))
    return ranked(features, am.embed([right], features.fingerprint["model"], "penultimate")["penultimate"][0])[1]


def is_ahead_and_behind(penultimate):
    """A function that says whether the first network leads most on one id and least on another."""
    first, *others = penultimate.values()
    relevance = am.Relevance.from_labels(first.ids, first.labels)
    of_first, *of_others = (am.evaluate(one, relevance).per_query.set_index("id")["AP"] for one in (first, *others))
    lead = of_first - pd.concat(of_others, axis=1).max(axis=1)
    return lambda ids: [lead[id] for id in ids] == [lead.max(), lead.min()]


def best_by_thumbs(cartoons, penultimate, k):
    """The network with the highest P@1 if only what the first network shows for 60 queries has a thumb."""
    label, hits = dict(zip(cartoons.ids, cartoons.labels, strict=True)), {name: [] for name in penultimate}
    for query in cartoons.sample(60, 1):
        lists = {
            name: [id for id in ranked(one, one.vector(query)) if id != query] for name, one in penultimate.items()
        }
        thumbs = {id: label[id] == label[query] for id in next(iter(lists.values()))[:k]}
        if len(set(thumbs.values())) == 2:  # some good, some bad
            for name, ids in lists.items():
                hits[name].append(next(thumbs[id] for id in ids if id in thumbs))
    return max(hits, key=lambda name: sum(hits[name]))


def p_value(penultimate, photo):
    """The p-value of a photograph on white."""
    white = ImageOps.expand(photo.resize((200, 200)), 100, "white")
    return am.systems.NoveltyTest.build(list(penultimate.values())).p_value(white)
