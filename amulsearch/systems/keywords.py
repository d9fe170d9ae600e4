"""Search by words among the keywords of a collection."""

import re
import sqlite3
from contextlib import closing
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..errors import QueryError, check_k
from ..features import Words
from ..index import neighbours
from ..intake import Collection, fold_name

_TABLE = "CREATE VIRTUAL TABLE pictures USING fts5(words, tokenize = 'porter unicode61 remove_diacritics 2')"
_FIND = "SELECT rowid, -bm25(pictures) AS score FROM pictures WHERE pictures MATCH ? ORDER BY score DESC, rowid LIMIT ?"


class Keywords:
    """Finds the pictures of a collection whose keywords have the words of a text.

    The index lies in memory; it takes about a second for 100,000 pictures. Words are compared without regard to case,
    accents and the endings of English words: "Birds" finds "bird". In scripts that put no spaces between words, such as
    Japanese, a word is found within longer ones.

    Parameters
    ----------
    collection : Collection
        With keywords: see `Collection.from_folder` and `Collection.from_table`.

    Raises
    ------
    QueryError
        If the collection has no keywords.

    References
    ----------
    Robertson & Zaragoza 2009, The probabilistic relevance framework: BM25 and beyond (with k1 = 1.2 and b = .75).
    Porter 1980, An algorithm for suffix stripping.

    Examples
    --------
    >>> import amulsearch as am
    >>> folder = "data/openclipart/animals"
    >>> words = {"birds/crow_01.webp": ["bird", "black"], "birds/eagle_01.webp": "bird;brown"}
    >>> animals = am.Collection.from_folder(folder, keywords=words, progress=False)
    >>> am.systems.Keywords(animals).query("black birds")["id"].tolist()
    ['birds/crow_01.webp', 'birds/eagle_01.webp']
    """

    def __init__(self, collection: Collection):
        keywords = collection.keywords
        self.ids, self.labels = list(keywords), collection.labels
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(_TABLE)
        lines = ((row, _spaced(" ; ".join(words))) for row, words in enumerate(keywords.values()))
        self._database.executemany("INSERT INTO pictures (rowid, words) VALUES (?, ?)", lines)

    def query(self, query: str | Words, k: int | None = None) -> pd.DataFrame:
        """Find the pictures whose keywords have words of a text; the more words, and the rarer ones, the better.

        Parameters
        ----------
        query : str or Words
            Words to look for, and those that the keywords of a result must not have.
        k : int, optional
            By default 10, or as many as there are.

        Returns
        -------
        DataFrame
            At most k rows: rank (from 1), id, score (BM25, higher is better), label, model and layer ("keywords").

        Raises
        ------
        QueryError
            If the text has no words, or no picture has any of them.
        """
        text, avoid = (query.text, query.avoid) if isinstance(query, Words) else (query, "")
        if not _words(text):
            raise QueryError("give at least one word to look for")
        match = _any(text) + (f" NOT {_any(avoid)}" if _words(avoid) else "")
        with closing(self._database.execute(_FIND, (match, check_k(k, len(self.ids))))) as cursor:
            results = cursor.fetchall()
        if not results:
            raise QueryError(self._why(text, avoid))
        rows, scores = zip(*results, strict=True)
        ids, labels = [self.ids[row] for row in rows], [self.labels[row] for row in rows]
        return neighbours(ids, labels, {"score": np.array(scores)}, {}, "keywords", "keywords")

    def _why(self, text: str, avoid: str) -> str:
        """The reason why nothing was found."""
        wanted = " or ".join(_words(text))
        if avoid and self._database.execute(_FIND, (_any(text), 1)).fetchall():
            return f"no picture has the keyword {wanted} without {avoid!r}"
        known = {word for (line,) in self._database.execute("SELECT words FROM pictures") for word in _words(line)}
        near = [word for asked in _words(text) for word in get_close_matches(asked, sorted(known), 2, 0.8)]
        return f"no picture has the keyword {wanted}" + (f": did you mean {' or '.join(near[:3])}?" if near else "")


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", fold_name(text).lower())


_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""A letter of the scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


def _spaced(text: str) -> str:
    """The text for FTS5, with spaces around each letter of scripts that have none between words: a word is then found
    within a longer one, as a sequence of letters."""
    return _UNSPACED.sub(r" \g<0> ", fold_name(text))


def _any(text: str) -> str:
    """The expression of FTS5 that any word of a text matches."""
    words = (f'"{_spaced(word).strip()}"' for word in _words(text))
    return f"({' OR '.join(words)})"
