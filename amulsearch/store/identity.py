"""Names for the contents of a store: digests of fingerprints and of vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from .blockwise import Blocks


def content_of(made_by: Mapping, ids: Iterable[str], digests: Iterable[str], vectors: Blocks = ()) -> str:
    """Return a SHA-256 that identifies the vectors of these pictures.

    Parameters
    ----------
    made_by : mapping
        The fingerprint: model, layer and the other settings that determine the vectors.
    ids : iterable of N str
        The ids of the pictures.
    digests : iterable of N str
        The SHA-256 of each picture's file.
    vectors : iterable of blocks, optional
        The vectors as `blocks` yields them, if no fingerprint determines them.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    sha = hashlib.sha256(repr(sorted(made_by.items())).encode())
    for pair in zip(ids, digests, strict=True):
        sha.update("\0".join(pair).encode() + b"\n")
    for _, block in vectors:
        sha.update(np.ascontiguousarray(block))
    return sha.hexdigest()


def features_path(fingerprint: Mapping) -> Path:
    """Return the folder of a fingerprint's features, relative to the store.

    Parameters
    ----------
    fingerprint : mapping
        At least "model" and "layer".

    Returns
    -------
    Path
        features/MODEL/LAYER-KEY, where KEY is a digest of the fingerprint.
    """
    return Path("features") / file_path(fingerprint, "-" + key_of(fingerprint))


def key_of(fingerprint: Mapping) -> str:
    """A short name for a fingerprint: the start of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]


def file_path(fingerprint: Mapping, ending: str) -> Path:
    """MODEL/LAYER + ending, with special characters quoted: a slash in a model as %2F, a colon in a layer as %3A."""
    return Path(quote(fingerprint["model"], safe="")) / (quote(fingerprint["layer"], safe="") + ending)
