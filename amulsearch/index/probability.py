"""How probable it is that a neighbour is relevant, from its distance."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

LIKELY = 0.1
"""Below this probability, a neighbour is not likely to be relevant: one in ten is."""


@dataclass(frozen=True)
class Calibration:
    """The probability that a neighbour is relevant, given its angular distance; `systems.calibrate` fits one.

    With the similarity s = 1 - distance ** 2 / 2, cut off below 0, the probability is
    1 / (1 + exp(-(slope * x + intercept))) for x = log((s + 0.01) / (1.01 - s)).

    Parameters
    ----------
    slope, intercept : float
    reliability : tuple of (float, float, int)
        The predictions of the pairs that took no part in their fit, in ten bins from 0 to 1, without those that are
        empty: mean prediction, fraction of relevant pairs, number of pairs.

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.
    """

    slope: float
    intercept: float
    reliability: tuple[tuple[float, float, int], ...] = field(default=(), repr=False)

    def probability(self, distances: np.ndarray) -> np.ndarray:
        """Return the probabilities (K,) float64 of angular distances (K,)."""
        return 1 / (1 + np.exp(-(self.slope * evidence(distances) + self.intercept)))

    @property
    def ece(self) -> float:
        """The expected calibration error: how far predictions are from fractions, over bins weighted by their pairs."""
        predicted, found, pairs = np.array(self.reliability).reshape(-1, 3).T
        return float(np.average(np.abs(predicted - found), weights=pairs)) if len(pairs) else np.nan

    @property
    def table(self) -> pd.DataFrame:
        """The reliability: columns predicted, relevant, pairs."""
        return pd.DataFrame(self.reliability, columns=["predicted", "relevant", "pairs"])


def unlikely_from(neighbours: pd.DataFrame) -> int | None:
    """The first rank in a table whose probability is below `LIKELY`; None if there is none, or no probability."""
    if "probability" not in neighbours:
        return None
    below = neighbours["rank"][neighbours["probability"] < LIKELY]
    return int(below.iloc[0]) if len(below) else None


def evidence(distances: np.ndarray) -> np.ndarray:
    """What the logarithm of the odds of being relevant is linear in, from angular distances."""
    similar = np.clip(1 - np.asarray(distances, dtype=np.float64) ** 2 / 2, 0, 1)
    return np.log((similar + 0.01) / (1.01 - similar))
