"""Does a picture resemble anything in the collection? An answer that needs no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import QueryError
from ..features import Features
from ..index import Index, as_systems, query_vectors, sampled_rows

NOVEL = 0.05
"""A picture with a lower p-value is told to resemble nothing in the collection."""
SAMPLE = 400
"""With how many pictures of the collection a `Panel` compares a new one."""


class NoveltyTest:
    """How unusual it is, for a picture of this collection, to be as far from all others as a query is.

    Each part, such as a layer of a network, gives the distance to the nearest picture. The distances are standardised
    by those of the collection's own pictures, each to its nearest other, and summed over the parts. The p-value is the
    fraction of the collection's own pictures, the query among them, whose sum is at least as great. If the query is
    like the pictures of the collection, a p-value below .05 occurs once in twenty queries. Of fewer than 19 pictures
    no p-value is as low: nothing can be told to be unlike them.

    A new picture of a kind that the collection has in several styles can pass as known, and the test says nothing
    about which neighbours are relevant: `calibrate` does, from labels.

    Attributes
    ----------
    parts : tuple of P Index
    sums : ndarray of shape (S,), float64
        Those of the pictures of the collection, or of a sample of them.

    References
    ----------
    Vovk, Gammerman & Shafer 2005, Algorithmic learning in a random world.
    Bates et al. 2023, Testing for outliers with conformal p-values.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), [f"{row}.png" for row in range(200)]
    >>> vectors = np.array([5.0, 0, 0, 0]) + rng.standard_normal((200, 4))
    >>> test = am.systems.NoveltyTest.build([am.Features(vectors, ids)])
    >>> near, far = [np.array([5.0, 0, 1, 0])], [np.array([-5.0, 0, 1, 0])]
    >>> round(test.p_value(near), 3), round(test.p_value(far), 3)
    (0.93, 0.005)
    """

    @classmethod
    def build(cls, parts: Sequence[Features | Index], *, sample: int = 1000) -> NoveltyTest:
        """Build a test from vectors that were not fitted to the collection, such as the layers of networks.

        Vectors of a transform that was fitted to these pictures, such as PCA, lie nearer to each other than to new
        ones, and too many new pictures would then be told to be unlike the others.

        Parameters
        ----------
        parts : sequence of P Features or Index
            Of the same pictures in the same order.
        sample : int, default 1000
            How many pictures of the collection the query is compared with: a random sample, or all.
        """
        test = cls()
        test.parts = as_systems(parts, Index)
        for part in test.parts:
            if is_fitted(part.fingerprint):
                name = " ".join(part.title)
                raise QueryError(f"{name} was fitted to these pictures: test with the layers that it was made of")
        count = len(test.parts[0])
        if count < 2:
            raise QueryError("a novelty test needs at least two pictures")
        test._rows = np.sort(sampled_rows(count, sample, 0))
        distances = [part.spacing(sample) for part in test.parts]
        test._scale = [(far.mean(), max(far.std(), 1e-12)) for far in distances]
        test.sums = test._standardised(distances)
        return test

    def __repr__(self) -> str:
        names = ", ".join(" ".join(part.title) for part in self.parts if part.fingerprint)
        return f"NoveltyTest({len(self.parts[0]):,} pictures, {names or 'own vectors'})"

    def p_value(self, query) -> float:
        """Return the p-value of a picture, from 1 / (S + 1) to 1; a low one means that nothing is like the picture.

        Parameters
        ----------
        query : str, path, PIL image or list of P ndarray of shape (D,)
            An id, the path of a picture file, a picture, or its vector in each part.
        """
        row = self.parts[0].row(query) if isinstance(query, str) else None
        if row is None:
            vectors, own, others = query_vectors(self.parts, query), None, self.sums
        else:
            vectors, own = [part.take([row]) for part in self.parts], np.array([row])
            others = self.sums[self._rows != row]
        distances = [part.rank([vector], 1, own)[1][:, 0] for part, vector in zip(self.parts, vectors, strict=True)]
        farther = (others >= self._standardised(distances)[0] - 1e-9).sum()
        return float((1 + farther) / (1 + len(others)))

    def _standardised(self, distances: Sequence[np.ndarray]) -> np.ndarray:
        """The standardised distances (Q,) of all parts, summed."""
        return sum((far - mean) / scale for far, (mean, scale) in zip(distances, self._scale, strict=True))

    def sentence(self, p_value: float) -> str:
        """Return what a p-value means, in a sentence (str)."""
        if (len(self.sums) + 1) * NOVEL < 1:
            most = f"that takes at least 19 pictures to compare, not {len(self.sums)}"
            return f"Whether anything here fits cannot be said: {most}."
        far = "pictures are as far from all others."
        if p_value <= NOVEL:
            return f"Nothing here is likely to fit: {p_value:.1%} of the collection's {far}"
        return f"Not unlike the collection: {p_value:.0%} of its {far}"


def is_fitted(made_by: Mapping) -> bool:
    """Whether a transform that was fitted is among what made vectors."""
    return "fitted" in made_by or any(is_fitted(part) for part in made_by.get("of", ()))
