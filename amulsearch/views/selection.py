"""What a person does with pictures in the explorer: select them, judge and tag them, copy their files."""

from collections.abc import Iterable

import pandas as pd

from ..errors import PictureError, QueryError, check_path
from ..intake import Collection, copy_pictures
from ..measure import Judgements


class Selection:
    """Some pictures of a collection, and the judgements of them; a tag is a judgement whose query is words."""

    def __init__(self, collection: Collection, judgements: Judgements | None):
        self.collection, self.judgements = collection, judgements
        self.ids: list[str] = []  # in the order of the collection
        # Queries, and how their pictures were judged before.
        self._history: list[tuple[str, dict[str, int | None]]] = []

    @property
    def table(self) -> pd.DataFrame:
        """The rows of `collection.table` of the selected pictures."""
        table = self.collection.table
        return table[table["id"].isin(self.ids)].reset_index(drop=True)

    def select(self, ids: Iterable[str]) -> None:
        """Select these pictures and no others; names that are not of the collection are left out."""
        chosen = set(ids)
        self.ids = [id for id in self.collection.ids if id in chosen]

    def judge(self, query: str, ids: list[str], relevance: int | None) -> None:
        """Judge pictures for a query, or withdraw their judgements, as `Judgements.add`."""
        if self.judgements is None:
            raise QueryError("there is no file for judgements: call explore(..., judgements=FILE)")
        before = {id: self.judgements.get(query, id) for id in ids}
        self.judgements.add(query, ids, relevance)
        self._history.append((query, before))

    def tag(self, text: str) -> str:
        """Judge the selected pictures as relevant to words; returns what was done, in a sentence."""
        tag = " ".join(text.split())
        if not tag:
            raise QueryError("a tag needs at least one letter: type a word for the selected pictures")
        self.judge(tag, self.ids, 1)
        return f"{self._count} tagged as “{tag}”"

    def undo(self) -> None:
        """Take back the last judgement or tag made here."""
        if self._history:
            query, before = self._history[-1]
            for value in set(before.values()):
                self.judgements.add(query, [id for id, judged in before.items() if judged == value], value)
            self._history.pop()

    def judged(self, query: str) -> dict | None:
        """Count the judgements: of a query, in all, and whether one can be taken back; None without a file."""
        if self.judgements is None:
            return None
        queries = self.judgements.table["query"]
        return {"query": int((queries == query).sum()), "all": len(queries), "undo": bool(self._history)}

    def copy_to(self, folder: str) -> str:
        """Copy the files of the selected pictures, as `copy_pictures`; returns what was done, in a sentence."""
        if not folder.strip():
            raise QueryError("type the folder that the files are to be copied to")
        path = check_path(folder.strip()).absolute()
        errors = [copy for copy in copy_pictures(self.collection, self.ids, path) if isinstance(copy, PictureError)]
        if not errors:
            return f"{self._count} copied to {path}"
        return f"{len(self.ids) - len(errors):,} of {self._count} copied to {path}; {errors[0]}"

    @property
    def _count(self) -> str:
        return f"{len(self.ids):,} {'picture' if len(self.ids) == 1 else 'pictures'}"
