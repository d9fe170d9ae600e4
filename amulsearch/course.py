"""What only the notebooks use: `check` says whether an answer to an exercise is right, `redrawn` draws pictures anew.

Examples
--------
>>> import amulsearch as am
>>> def share(hits, count):
...     return hits / count
>>> am.course.check(0.61, share, 609, 1000, within=0.002, hint="Divide by the number of queries.")
Right.
>>> am.course.check(61, share, 609, 1000, hint="Divide by the number of queries.")
Not yet: Divide by the number of queries.
>>> am.course.check(..., share, 609, 1000, hint="Divide by the number of queries.")
Not answered yet.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps

from .intake import Collection


def check(answer: object, solve: Callable, *given, within: float = 0.0, hint: str) -> None:
    """Print whether an answer is right; if it is not, also a hint.

    Parameters
    ----------
    answer : object
        The answer; Ellipsis (`...`) if there is none yet.
    solve : callable
        Returns the right answer. A number, a text, True or False, or None equals the answer; a set has the same
        members; a list, a tuple or an array has the same members in the same order; a Series or a DataFrame has the
        same names of rows and columns, in any order, and the same values. A function takes the answer and says whether
        it is right.
    *given
        What `solve` is called with. It is not called if there is no answer yet, and its errors are not caught.
    within : float, default 0.0
        By how much a number of the answer may differ. NaN equals NaN.
    hint : str
        What helps with a wrong answer. If the answer cannot be compared with the right one, the reason follows it.
    """
    if answer is ...:
        print("Not answered yet.")
        return
    right, reason = solve(*given), ""
    try:
        agreed = bool(right(answer)) if callable(right) else _same(answer, right, within)
    except AssertionError:  # of pandas.testing: a table or a list that differs
        agreed = False
    except Exception as error:
        agreed, reason = False, f" (Your answer could not be compared: {type(error).__name__}: {error})"
    print("Right." if agreed else f"Not yet: {hint}{reason}")


def _same(answer: object, right: object, within: float) -> bool:
    """Whether an answer is the right one; AssertionError if a table or a list differs."""
    close = {"rtol": 1e-9, "atol": within, "check_exact": False, "check_dtype": False, "check_index_type": False}
    close |= {"check_names": False, "check_like": True}
    if isinstance(right, pd.DataFrame):
        pd.testing.assert_frame_equal(answer, right, check_column_type=False, check_frame_type=False, **close)
    elif isinstance(right, pd.Series):
        pd.testing.assert_series_equal(answer, right, check_series_type=False, **close)
    elif isinstance(right, (set, frozenset)):
        return not isinstance(answer, str) and set(answer) == right
    elif isinstance(right, (list, tuple)) or np.ndim(right):
        if isinstance(answer, (str, dict, set)) or np.shape(answer) != np.shape(right):
            return False
        members = (pd.Series(np.array(values, dtype=object).ravel()) for values in (answer, right))
        pd.testing.assert_series_equal(*members, **close)
    elif isinstance(right, (str, bool, np.bool_)) or right is None:
        return isinstance(answer, (str, bool, np.bool_, type(None))) and answer == right
    else:
        return np.ndim(answer) == 0 and bool(np.isclose(answer, right, rtol=1e-9, atol=within, equal_nan=True))
    return True


def redrawn(collection: Collection, folder: str | os.PathLike, count: int = 60, seed: int = 0) -> Collection:
    """Draw some pictures as if by other hands: each as it is, as an outline and as a silhouette.

    The drawings are written to a folder, one subfolder for each picture; those of the same picture have the same label.
    count: how many pictures are drawn: a random sample by `seed`, or all if there are fewer.
    """
    for place, id in enumerate(collection.sample(min(count, len(collection)), seed)):
        subject, image = Path(folder, f"{place:03}"), collection.open(id)
        subject.mkdir(parents=True, exist_ok=True)
        grey = ImageOps.grayscale(image)
        across, down = np.gradient(np.asarray(grey.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float32))
        edges = 255 - np.minimum(12 * np.hypot(across, down), 255)
        image.save(subject / "original.png")
        Image.fromarray(edges.astype(np.uint8)).save(subject / "outline.png")
        grey.point(lambda level: 30 if level < 240 else 255).save(subject / "silhouette.png")
    return Collection.from_folder(folder, progress=False)
