"""Labels are text, wherever they come from."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd

from ..errors import QueryError


def label_text(label: object) -> str | None:
    """Return a label as text.

    Parameters
    ----------
    label : str, bool, number, None or a missing value
        Also of numpy or pandas. A float without a fraction is written as an integer: pandas makes floats of a column
        of integers in which some are missing.

    Returns
    -------
    str or None
        In Unicode's form NFC; None for a missing value and for an empty text.

    Raises
    ------
    QueryError
        If it is something else, such as a list.

    Examples
    --------
    >>> [label_text(label) for label in ("sea", 7, 7.0, True, None, float("nan"), "")]
    ['sea', '7', '7', 'True', None, None, None]
    """
    if type(label) is str and label.isascii():  # as nearly all are, and there may be millions
        return label or None
    if not pd.api.types.is_scalar(label) or isinstance(label, bytes):
        raise QueryError(
            f"a label is a text or a number, not {label!r:.60} ({type(label).__name__}): give a picture one label, or "
            "several words as its keywords"
        )
    if pd.isna(label):
        return None
    text = str(int(label) if isinstance(label, (float, np.floating)) and label.is_integer() else label)
    return unicodedata.normalize("NFC", text) or None
