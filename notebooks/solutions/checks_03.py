"""The right answers to the exercises of lesson 3."""

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score


def average_precision(right):
    """The average precision of a list of right (1) and wrong (0) results."""
    return average_precision_score(right, -np.arange(len(right)))


def ratio_of_widths(values, fewer):
    """How many times as wide the bootstrap interval is with fewer values."""
    rng = np.random.default_rng(7)
    means = ([rng.choice(some, len(some)).mean() for _ in range(4000)] for some in (fewer, values))
    few, all_values = (np.subtract(*np.percentile(some, [97.5, 2.5])) for some in means)
    return few / all_values


def two_sided(wins, losses):
    """The exact p-value of a fair coin."""
    return binomtest(wins, wins + losses).pvalue


def first_in_top_folder(rows, labels):
    """How many first neighbours lie in the top folder of their query, as a fraction."""
    top = [label.partition("/")[0] for label in labels]
    return np.mean([top[first] == own for own, first in zip(top, rows[:, 0], strict=True)])
