"""Queries in words: vectors of the space in which a network with a text tower has its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .. import models
from ..errors import QueryError
from ..models import Model
from .vectors import l2_normalize

AVOIDED = 0.5
"""The weight of words to avoid, relative to those to find."""


@dataclass(frozen=True, eq=False)
class Words:
    """A query in words, for indexes of networks with a text tower (`open_clip/REPOSITORY`, see `models.get`).

    Such networks learned from captions: "a drawing of a man with an umbrella" is nearer to what they know than "man
    umbrella".

    Parameters
    ----------
    text : str
        What to find.
    avoid : str, default ""
        What the results should not show.
    pictures : sequence of PIL image, default ()
        Pictures that the results should resemble too.

    References
    ----------
    Radford et al. 2021, Learning transferable visual models from natural language supervision (prompts: section 3.1.4).
    Rocchio 1971, Relevance feedback in information retrieval (the sum of what to find, less what to avoid).

    Examples
    --------
    >>> import amulsearch as am
    >>> cartoons = am.Collection.from_folder("data/openclipart", progress=False)
    >>> name = "open_clip/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # 605 MB are downloaded
    >>> index = am.ExactIndex.build(am.extract(cartoons, name)[name, "penultimate"])  # doctest: +SKIP
    >>> index.query(am.Words("a drawing of a bird", avoid="a cage"), k=4)  # doctest: +SKIP
    """

    text: str
    avoid: str = ""
    pictures: Sequence[Image.Image] = ()

    def __post_init__(self) -> None:
        for text in (self.text, self.avoid):
            if not isinstance(text, str):
                raise QueryError(f"words must be a string, not {type(text).__name__}")
        if not self.text.strip():
            raise QueryError("give at least one word to look for")


def text(model: str | Model, words: str | Sequence[str]) -> np.ndarray:
    """Compute the vectors of texts with the text tower of a network, always in float32.

    Parameters
    ----------
    model : str or Model
        A network with a text tower: `open_clip/REPOSITORY`, see `models.get`.
    words : str or sequence of B str

    Returns
    -------
    ndarray of shape (D,) or (B, D), float32
        Of the same space as the layer "penultimate" of the network's pictures. Not scaled.

    Raises
    ------
    QueryError
        If the network has no text tower, or a text is empty or no string.
    ModelError
        For an unknown model, and for weights that cannot be loaded.

    See Also
    --------
    Words : The same as a query.

    Examples
    --------
    >>> import amulsearch as am
    >>> name = "open_clip/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # 605 MB are downloaded
    >>> am.text(name, ["a man with an umbrella", "a drawing of a bird"]).shape  # doctest: +SKIP
    (2, 512)
    """
    texts = [words] if isinstance(words, str) or not isinstance(words, Iterable) else list(words)
    for one in texts or [""]:
        Words(one)
    import torch

    network = models.load(model)
    if not hasattr(network.module, "words"):
        raise QueryError(
            f"{network.model.name} has no text tower: use a network of open_clip (open_clip/REPOSITORY), or keywords"
        )
    with torch.inference_mode():
        found = network.module.words(texts).float().cpu().numpy()
    return found[0] if isinstance(words, str) else found


def of_words(query: Words, model: Model, layers: Sequence[str], pictures: np.ndarray | None) -> np.ndarray:
    """Compute the vector of a query in words.

    Parameters
    ----------
    query : Words
    model : Model
    layers : sequence of str
        The layers of pictures that it is compared with.
    pictures : ndarray of shape (P, D), float32, or None
        The vectors of the query's pictures.

    Returns
    -------
    ndarray of shape (D,), float32
        The unit vector of the text, plus the mean of those of the pictures, less half that of what to avoid.

    Raises
    ------
    QueryError, ModelError
        As `text`, and for a layer that is not in the space of the text.
    """
    if list(layers) != ["penultimate"]:
        raise QueryError(f"words are comparable with the layer penultimate only, not with {', '.join(layers)}")
    known = l2_normalize(text(model, [query.text, *([query.avoid] if query.avoid.strip() else [])]))
    vector = known[0] - (AVOIDED * known[1] if len(known) > 1 else 0)
    return vector if pictures is None else vector + l2_normalize(pictures).mean(axis=0)
