"""Names as people type them: in another Unicode form, with plain spaces, with a typing error."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import PurePosixPath

MOST = 20_000
"""Among more names than these, no similar one is looked for: it would take seconds."""


def fold_name(text: str) -> str:
    """What can be typed of a name: in Unicode's form NFC, every blank as a space, without invisible characters.

    >>> fold_name("cafe\u0301 9.41\u202fAM") == fold_name("caf\u00e9 9.41 AM")
    True
    """
    if text.isascii() and text.isprintable():
        return text
    visible = (" " if char.isspace() else char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFC", "".join(visible))


class ByName(dict):
    """Values by name; a missing name has the value of the only one that `fold_name` makes equal to it, or a default."""

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
        """How many of the names are none of these ids."""
        known = ByName(dict.fromkeys(ids, True))
        return sum(not known[name] for name in self)


def near_names(text: str, ids: Sequence[str], most: int = 3) -> list[str]:
    """The ids that are most like a text, as a whole, by their file names, or by a word of them; the most similar first.

    >>> near_names("dragonfyl", ["bugs/dragonfly.webp", "bugs/wasp.webp", "food/dragon_fruit.webp"])
    ['bugs/dragonfly.webp', 'food/dragon_fruit.webp']
    """
    known: dict[str, str] = {}
    for id in ids if len(ids) <= MOST else ():
        path = PurePosixPath(id)
        words = [word for word in re.split(r"[\W\d_]+", path.stem) if len(word) > 3]
        for name in (id, path.name, path.stem, *words):
            known.setdefault(fold_name(name).lower(), id)
    similar = get_close_matches(fold_name(text).strip().lower(), known, 3 * most, 0.6)
    return list(dict.fromkeys(known[name] for name in similar))[:most]


def did_you_mean(text: str, names: Sequence[str]) -> str:
    """A question to put behind an unknown name in an error message; empty if no name is similar.

    >>> did_you_mean("penultimat", ["logits", "penultimate"])
    ' (did you mean penultimate?)'
    """
    near = near_names(text, names)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
