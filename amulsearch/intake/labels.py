"""Labels and keywords as text in Unicode's form NFC, in which those that look the same are the same."""

import unicodedata
from collections.abc import Callable, Mapping
from sys import intern

import numpy as np
import pandas as pd

from ..errors import QueryError
from .spelling import ByName


def label_text(label: object) -> str | None:
    """A label as text; None for a missing value and for an empty text. Of a label that many pictures share, one copy.

    A float without a fraction is written as an integer: pandas makes floats of integers of which some are missing.

    >>> [label_text(label) for label in ("sea", 7, 7.0, True, None, float("nan"), "")]
    ['sea', '7', '7', 'True', None, None, None]
    """
    if type(label) is str and label.isascii():  # as nearly all are, and there may be millions
        return intern(label) or None
    if not pd.api.types.is_scalar(label) or isinstance(label, bytes):
        what = f"a label is a text or a number, not {label!r:.60} ({type(label).__name__})"
        raise QueryError(f"{what}: give a picture one label, or several words as its keywords")
    if pd.isna(label):
        return None
    text = str(int(label) if isinstance(label, (float, np.floating)) and label.is_integer() else label)
    return intern(unicodedata.normalize("NFC", text)) or None


def keyword_list(value: object) -> list[str]:
    """The keywords in a cell of a table: a list, one string of words separated by ";", or nothing."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return []
    words = value.split(";") if isinstance(value, str) else map(str, value)
    return [intern(unicodedata.normalize("NFC", word.strip())) for word in words if word.strip()]


def labeller(labels) -> Callable[[str], str | None]:
    """The function from id to label that `labels` stands for, see `from_folder`; of a mapping, a `ByName`."""
    if labels is None:
        return lambda id: None
    if isinstance(labels, str) and labels == "folder":
        return lambda id: label_text(id.rpartition("/")[0])
    if isinstance(labels, Mapping):
        return ByName({id: label_text(label) for id, label in labels.items()})
    if callable(labels):
        return lambda id: label_text(labels(id))
    raise QueryError(f'labels cannot be {labels!r:.60}: use "folder", None, a function or a mapping')
