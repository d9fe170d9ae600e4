"""Names as people type them: in another Unicode form, with plain spaces, with a typing error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import PurePath, PurePosixPath

MOST = 20_000


def fold_name(text: str) -> str:
    """Reduce a name to what can be typed of it, to compare it with others.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        In Unicode's form NFC, every blank as a space, without invisible characters.

    Examples
    --------
    >>> fold_name("cafe\u0301 9.41\u202fAM") == fold_name("caf\u00e9 9.41 AM")
    True
    """
    if text.isascii() and text.isprintable():
        return text
    seen = (" " if char.isspace() else char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFC", "".join(seen))


class ByName(dict):
    """Values by name; a missing name has the value of the only one that `fold_name` makes equal to it, or a default.

    Parameters
    ----------
    values : mapping of str to object
    default : object, optional
    """

    def __init__(self, values: Mapping, default=None):
        super().__init__(values)
        self._default = default

    __call__ = dict.__getitem__

    @cached_property
    def _folded(self) -> dict:
        folded = {}
        for name, value in self.items():
            form = fold_name(name) if isinstance(name, str) else name
            folded[form] = self._default if form in folded else value
        return folded

    def __missing__(self, name):
        return self._folded.get(fold_name(name), self._default) if isinstance(name, str) else self._default

    def unmatched(self, ids: Iterable[str]) -> int:
        """Return how many of the names are none of these ids."""
        known = ByName(dict.fromkeys(ids, True))
        return sum(not known[name] for name in self)


def near_names(text: str, ids: Sequence[str], most: int = 3) -> list[str]:
    """Find the ids that are most like a text: as a whole, by their file names, or by a word of them.

    Parameters
    ----------
    text : str
    ids : sequence of str
    most : int, default 3

    Returns
    -------
    list of str
        The most similar first; empty if none is similar, and among more than 20,000, which would take seconds.

    Examples
    --------
    >>> near_names("dragonfyl", ["bugs/dragonfly.webp", "bugs/wasp.webp", "food/dragon_fruit.webp"])
    ['bugs/dragonfly.webp', 'food/dragon_fruit.webp']
    >>> near_names("bananna", ["fruit/ripe_banana_01.webp", "fruit/pear.webp"])
    ['fruit/ripe_banana_01.webp']
    """
    known: dict[str, str] = {}
    for id in ids if len(ids) <= MOST else ():
        stem = PurePosixPath(id).stem
        words = [word for word in re.split(r"[\W\d_]+", stem) if len(word) > 3]
        for name in (id, PurePosixPath(id).name, stem, *words):
            known.setdefault(fold_name(name).lower(), id)
    found = get_close_matches(fold_name(text).strip().lower(), known, 3 * most, 0.6)
    return list(dict.fromkeys(known[name] for name in found))[:most]


def leads_out(name: str) -> bool:
    """Whether a name relative to a folder leads out of it: with "..", from the root or another drive.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool
        True also for a name with a zero byte, which no file has.

    Examples
    --------
    >>> leads_out("birds/crow.webp"), leads_out("birds/../../crow.webp"), leads_out("/etc/passwd")
    (False, True, True)
    """
    path = PurePath(name)
    return bool(path.anchor) or ".." in path.parts or "\0" in name


def did_you_mean(text: str, names: Sequence[str]) -> str:
    """Ask in an error message whether a name was meant that is like the text.

    Parameters
    ----------
    text : str
    names : sequence of str
        Those that exist.

    Returns
    -------
    str
        To put behind the text; empty if no name is similar.

    Examples
    --------
    >>> did_you_mean("penultimat", ["logits", "penultimate"])
    ' (did you mean penultimate?)'
    """
    near = near_names(text, names)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
