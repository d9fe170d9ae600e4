"""Vectors of new pictures and words, computed as those of a collection were: a fingerprint is a tree that says how."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .. import models
from ..errors import QueryError
from ..intake import Decoded, open_image, opening
from ..models import Model, canonical_layer
from .converted import query_graph, run_one
from .transforms import PCA, joined, source_layers
from .vectors import l2_normalize

PASS = ("model", "framing", "background", "precision")
"""What the layers that one pass of a network computes have in common in their fingerprints."""

AVOIDED = 0.5
"""The weight of words to avoid, relative to those to find."""


def embed(
    images: Image.Image | list[Image.Image],
    model: str | Model,
    layers: str | list | tuple | None = None,
    *,
    framing: str = "pad",
    background: str = "white",
) -> dict[str, np.ndarray]:
    """Compute the vectors of pictures that are not in a collection, as `extract` would, always in float32.

    Parameters
    ----------
    images : PIL image or list of N PIL images
        See `open_image`.
    model : str or Model
        See `models.get`.
    layers : str or sequence of str, optional
        See `extract`.
    framing : {"pad", "crop", "squash"}
    background : str, default "white"
        As for `models.resize_image`, and behind transparent parts.

    Returns
    -------
    dict of str to ndarray of shape (N, D), float32

    Examples
    --------
    >>> import amulsearch as am
    >>> crow = am.open_image("data/openclipart/animals/birds/crow_01.webp")
    >>> am.embed(crow, "squeezenet1_1", "penultimate")["penultimate"].shape
    (1, 512)
    """
    record = models.get(model)
    layers = models.main_layers(record) if layers is None else models.layer_names(layers)
    images = list(images) if isinstance(images, Iterable) else [images]
    if not images:
        raise QueryError("give at least one picture")
    full = {layer: canonical_layer(layer) for layer in layers}
    pixels = [pixels_of(image, record, framing, background) for image in images]
    network = models.load(record)
    size = network.config.batch
    batches = [np.stack(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    parts = [network(batch, list(full.values())) for batch in batches]
    return {layer: np.concatenate([part[name] for part in parts]) for layer, name in full.items()}


@dataclass(frozen=True, eq=False)
class Words:
    """A query in words, for indexes of networks with a text tower (`open_clip/REPOSITORY`, see `models.get`).

    Such networks learned from captions: "a man with an umbrella" is nearer to what they know than "man umbrella".

    Parameters
    ----------
    text : str
        What to find.
    avoid : str, default ""
        What the results should not show.
    pictures : sequence of PIL image, default ()
        What the results should resemble too.

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
    """The vector (D,) float32 of a text, or those (B, D) of several, by the text tower of a network; not scaled.

    They are of the space of the layer "penultimate" of the network's pictures, a network `open_clip/REPOSITORY`, see
    `models.get`. `Words` makes a query of a text.
    """
    texts = [words] if isinstance(words, str) else list(words)
    for each in texts or [""]:
        Words(each)
    import torch

    network = models.load(model)
    if not hasattr(network.module, "words"):
        other = "use a network of open_clip (open_clip/REPOSITORY), or keywords"
        raise QueryError(f"{network.model.name} has no text tower: {other}")
    with torch.inference_mode():
        vectors = network.module.words(texts).float().cpu().numpy()
    return vectors[0] if isinstance(words, str) else vectors


def pixels_of(image: Image.Image, model: Model, framing: str, background: str) -> np.ndarray:
    """The input (size, size, 3), uint8, of a network for a new picture, see `Preprocess.pixels`."""
    if not isinstance(image, Image.Image):
        raise QueryError(f"a picture must be a PIL image (am.open_image opens one), not {type(image).__name__}")
    image = image if image.mode == "RGB" else open_image(image, background=background)
    return model.preprocess.pixels(Decoded(np.array(image), image.size), framing, background)


def encode(
    query: Image.Image | Words, fingerprints: Sequence[Mapping], makers: Iterable[Model | PCA]
) -> list[np.ndarray]:
    """The vector (1, D), float32, of a new picture or of words as each fingerprint says, with one pass of each network.

    makers: the records of your own networks, and the fitted PCAs that the fingerprints refer to. QueryError if a
    network now has other weights or another preprocessing.
    """
    makers = list(makers)
    records = {maker.name: maker for maker in makers if isinstance(maker, Model)}
    fitted = {maker.digest: maker for maker in makers if isinstance(maker, PCA)}
    passes: dict[tuple, list] = {}  # all layers of a network in one pass
    for fingerprint in fingerprints:
        for leaf in source_layers(fingerprint):
            passes.setdefault(tuple(leaf[key] for key in PASS), []).append(leaf)
    known = {}
    for key, leaves in passes.items():
        name = leaves[0]["model"]
        model = records.get(name) or models.get(name)
        described = model.describe()
        if any({field: leaf.get(field) for field in described} != described for leaf in leaves):
            raise QueryError(f"the index was made with other weights or preprocessing of {name}: build it again")
        known |= {(*key, layer): vectors for layer, vectors in _by_layer(query, model, leaves).items()}
    return [_follow(fingerprint, known, fitted) for fingerprint in fingerprints]


def _by_layer(query: Image.Image | Words, model: Model, leaves: list[Mapping]) -> dict[str, np.ndarray]:
    """The vectors (1, D) by layer, by the graph with which the collection's were computed if there is one: then neither
    torch is imported nor a network built."""
    layers, leaf = list(dict.fromkeys(leaf["layer"] for leaf in leaves)), leaves[0]
    if isinstance(query, Words):
        return {layers[0]: _words_vector(query, model, leaves, layers)}
    framing, background = leaf["framing"], leaf["background"]
    if all(each.get("backend", "").startswith("openvino") for each in leaves):
        graph = query_graph(model, layers, leaf["precision"])
        if graph is not None:
            return run_one(graph, layers, pixels_of(query, model, framing, background))
    return embed(query, model, layers, framing=framing, background=background)


def _words_vector(query: Words, model: Model, leaves: list[Mapping], layers: list[str]) -> np.ndarray:
    """The unit vector (1, D) of a text, plus the mean of those of the pictures, less half that of what to avoid."""
    if layers != ["penultimate"]:
        raise QueryError(f"words are comparable with the layer penultimate only, not with {', '.join(layers)}")
    vector = l2_normalize(text(model, [query.text]))
    if query.avoid.strip():
        vector = vector - AVOIDED * l2_normalize(text(model, [query.avoid]))
    if query.pictures:
        pictures = [_by_layer(picture, model, leaves)["penultimate"] for picture in query.pictures]
        vector = vector + l2_normalize(np.concatenate(pictures)).mean(axis=0)
    return vector


def opening_of(fingerprint: Mapping) -> dict:
    """How the pictures were opened: the frame, the background and max_pixels, as keywords of `open_image`."""
    leaf = source_layers(fingerprint)[0]
    return {name: leaf.get(name, value) for name, value in opening().items()}


def _follow(fingerprint: Mapping, known: Mapping, fitted: Mapping[str, PCA]) -> np.ndarray:
    """The vector (1, D) at a node of the tree, from those of the leaves."""
    if "of" not in fingerprint:
        return known[tuple(fingerprint[key] for key in (*PASS, "layer"))]
    parts = [_follow(part, known, fitted) for part in fingerprint["of"]]
    if "fitted" in fingerprint:
        return fitted[fingerprint["fitted"]](parts[0])
    return joined(parts)
