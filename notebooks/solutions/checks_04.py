"""The right answers to the exercises of lesson 4."""

import numpy as np
import pandas as pd

import amulsearch as am


def unit(vectors):
    """Vectors of length 1, in double precision."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def of_the_label(systems, picture, original, k):
    """How many of the k neighbours of an edited picture, over all systems, have the label of the original."""
    count = 0
    for features in systems.values():
        model, layer = features.fingerprint["model"], features.fingerprint["layer"]
        cosines = unit(features.vectors) @ unit(am.embed([picture], model, layer)[layer])[0]
        labels, own = np.array(features.labels, dtype=object), features.ids.index(original)
        cosines[own] = -np.inf
        count += (labels[np.argsort(-cosines)[:k]] == labels[own]).sum()
    return count


def rank_of_the_label(features, id):
    """The rank of the first neighbour that has the label of a picture."""
    vectors, labels = unit(features.vectors), np.array(features.labels, dtype=object)
    own = features.ids.index(id)
    order = np.argsort(-(vectors @ vectors[own]))
    return np.argmax(labels[order[order != own]] == labels[own]) + 1


def sizes_of_unions(rows, ids):
    """How many different pictures the lists of all networks hold, by id."""
    lists = [table.tolist() for table in rows.values()]
    return pd.Series([len(set().union(*of_one)) for of_one in zip(*lists, strict=True)], ids)


def twins_found(features):
    """The fraction of black-and-white twins whose first neighbour is the coloured drawing."""
    ids, vectors = list(features.ids), unit(features.vectors)
    twins = [(id, id.replace("_bw", "")) for id in ids if "_bw" in id and id.replace("_bw", "") in ids]
    pairs = [(ids.index(black), ids.index(coloured)) for black, coloured in twins]
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.mean([cosines[black].argmax() == coloured for black, coloured in pairs])
