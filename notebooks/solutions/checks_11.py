"""What the exercises of lesson 11 are checked against."""

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import amulsearch as am
from amulsearch.errors import import_optional


def recall(rows, truth):
    """The fraction of the true neighbours that the rows hold."""
    return float(am.measure.overlap(np.array(truth), np.array(rows)).mean())


def bits_at(degrees, lines):
    """The bits of a point on the circle: 1 within a right angle of the arrow of a line."""
    arrows = np.degrees(np.arctan2(lines[:, 1], lines[:, 0]))
    apart = np.abs((degrees - arrows + 180) % 360 - 180)
    return [int(angle <= 90) for angle in apart]


def recall_by_bits(points, new, truth):
    """The recall of hashing with 20 candidates by the number of bits."""
    faiss, found = import_optional("faiss", "faiss-cpu"), {}
    with threadpool_limits(1):  # threads would wait for each other on a busy machine
        for bits in (64, 256, 1024):
            index = faiss.IndexRefineFlat(faiss.IndexLSH(points.shape[1], bits, True, True))
            index.train(points)
            index.add(points)
            index.k_factor = 2
            found[bits] = recall(index.search(new, 10)[1], truth)
    return pd.Series(found)


def enough_search(points, new, truth):
    """The first `search_k` on the way from 100 with which fifty trees reach a recall of 0.95."""
    forest = am.AnnoyIndex.build(points, [str(row) for row in range(len(points))], n_trees=50)
    search_k = 100
    while recall(forest.search(new, 10, search_k=search_k)[0], truth) < 0.95:
        search_k = round(1.2 * search_k)
    return search_k


def cells_recall(collections, new):
    """The recall of four cells out of the square root of N, by the number of vectors N."""
    faiss, found = import_optional("faiss", "faiss-cpu"), {}
    for count, points in collections.items():
        truth = am.ExactIndex.build(points, [str(row) for row in range(count)]).search(new, 10)[0]
        quantizer = faiss.IndexFlatL2(points.shape[1])
        index = faiss.IndexIVFFlat(quantizer, points.shape[1], round(count**0.5))
        index.train(points)
        index.add(points)
        index.nprobe = 4
        found[count] = recall(index.search(new, 10)[1], truth)
    return pd.Series(found)
