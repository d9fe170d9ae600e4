"""The answers to the exercises of lesson 9."""

import numpy as np

import amulsearch as am


def cosine_after_the_swap(first, second):
    """The cosine of the means of two maps (channels, 2, 2), after two places of the first were exchanged."""
    one = first.reshape(len(first), 4)[:, [3, 1, 2, 0]].sum(axis=1)
    two = second.reshape(len(second), 4).sum(axis=1)
    return (one * two).sum() / ((one**2).sum() * (two**2).sum()) ** 0.5


def cosine_without(cartoons, ant, eggs, network, layer):
    """The cosine of the ant without its legs with the eggs, by a layer of a network."""
    image = cartoons.open(ant).copy()
    image.paste("white", (116, 102, 239, 154))  # the last column and row are not painted
    one, two = am.embed([image, cartoons.open(eggs)], network, layer)[layer]
    return one @ two / np.linalg.norm(one) / np.linalg.norm(two)


def nearest_above_the_usual(vectors, ids, ant):
    """The picture with the largest cosine with the ant minus that with the mean vector, other than the ant."""
    above = dict(zip(ids, vectors @ (vectors[ids.index(ant)] - vectors.mean(axis=0)), strict=True))
    del above[ant]
    return max(above, key=above.get)


def pairs_apart(cosines, labels):
    """In how many pairs with a cosine of 0.90 or more the labels differ; each pair once."""
    near = cosines >= 0.90
    return sum(near[row, other] and labels[row] != labels[other] for row in range(len(labels)) for other in range(row))
