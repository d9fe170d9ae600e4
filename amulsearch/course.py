"""What the exercises of the notebooks use: `check` says whether an answer is right.

Examples
--------
>>> import amulsearch as am
>>> am.course.check(0.61, 0.609, within=0.002, hint="Divide by the number of queries.")
Right.
>>> am.course.check(["a"], {"a", "b"}, hint="There are two.")
Not yet: There are two.
>>> am.course.check(..., 5, hint="Count them.")
Not answered yet.
"""

from __future__ import annotations

from collections.abc import Callable


def check(answer: object, right: object, *, within: float = 0.0, hint: str) -> None:
    """Print whether an answer is right; if it is not, also a hint.

    Parameters
    ----------
    answer : object
        The answer; Ellipsis (`...`) if there is none yet.
    right : object
        The right answer. A number, a text, True or False, or None equals the answer; a set has the same members; a
        list, a tuple or an array has the same members in the same order; a Series or a DataFrame has the same names of
        rows and columns, in any order, and the same values. A function takes the answer and says whether it is right.
    within : float, default 0.0
        By how much a number of the answer may differ. NaN equals NaN.
    hint : str
        What helps with a wrong answer.
    """
    if answer is ...:
        print("Not answered yet.")
        return
    try:
        agreed = bool(right(answer)) if isinstance(right, Callable) else _same(answer, right, within)
    except Exception:  # an answer of another kind
        agreed = False
    print("Right." if agreed else f"Not yet: {hint}")


def _same(answer: object, right: object, within: float) -> bool:
    """Whether an answer is the right one; any error means that it is of another kind."""
    import numpy as np
    import pandas as pd

    if isinstance(right, pd.DataFrame):
        answer = answer.reindex_like(right) if _names(answer.columns) == _names(right.columns) else None
        return _names(answer.index) == _names(right.index) and all(
            _same(answer[name].tolist(), right[name].tolist(), within) for name in right
        )
    if isinstance(right, pd.Series):
        names = _names(answer.index) == _names(right.index)
        return names and _same(answer[right.index].tolist(), right.tolist(), within)
    if isinstance(right, (set, frozenset)):
        return not isinstance(answer, str) and set(answer) == right
    if isinstance(right, np.ndarray) and right.ndim:
        if np.shape(answer) != right.shape:
            return False
        if right.dtype.kind in "biuf":
            return bool(np.isclose(answer, right, rtol=1e-9, atol=within, equal_nan=True).all())
        right = right.tolist()
    if isinstance(right, (list, tuple)):
        members = answer.tolist() if isinstance(answer, (np.ndarray, pd.Series, pd.Index)) else list(answer)
        paired = not isinstance(answer, (str, dict, set)) and len(members) == len(right)
        return paired and all(_same(one, other, within) for one, other in zip(members, right, strict=True))
    if isinstance(right, (str, bool, np.bool_)) or right is None:
        return isinstance(answer, (str, bool, np.bool_, type(None))) and answer == right
    return np.ndim(answer) == 0 and bool(np.isclose(answer, right, rtol=1e-9, atol=within, equal_nan=True))


def _names(index) -> list:
    """The names of rows or columns, in an order of their own."""
    return sorted(index, key=repr)
