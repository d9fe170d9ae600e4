"""What names the content of a store: digests of fingerprints, and of the vectors that they made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from .blockwise import Blocks


def content_of(made_by: Mapping, ids: Iterable[str], digests: Iterable[str], vectors: Blocks = ()) -> str:
    """SHA-256 of what decides the vectors of these pictures, and of the vectors where nothing else does."""
    sha = hashlib.sha256(repr(sorted(made_by.items())).encode())
    for pair in zip(ids, digests, strict=True):
        sha.update("\0".join(pair).encode() + b"\n")
    for _, block in vectors:
        sha.update(np.ascontiguousarray(block))
    return sha.hexdigest()


def features_path(fingerprint: Mapping) -> Path:
    """Where features of this fingerprint lie in a store, relative to it."""
    return Path("features") / file_path(fingerprint, "-" + key_of(fingerprint))


def key_of(fingerprint: Mapping) -> str:
    """A short name for a fingerprint: the start of the SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]


def file_path(fingerprint: Mapping, ending: str) -> Path:
    """MODEL/LAYER + ending; model names can hold slashes, and layers colons, which are written as %2F and %3A."""
    return Path(quote(fingerprint["model"], safe="")) / (quote(fingerprint["layer"], safe="") + ending)
