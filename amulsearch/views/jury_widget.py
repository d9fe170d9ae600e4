"""The jury in a notebook: it shows a query and two pictures, and takes the answers of a person."""

from __future__ import annotations

from dataclasses import astuple
from functools import cached_property

from ..errors import AmulsearchError, QueryError
from ..intake import Collection
from ..measure import Jury
from .thumbnails import data_uri, thumbnails
from .widget import Widget

SIDE, QUALITY = 480, 85
"""The longest side of a picture in pixels, and the quality of its WebP."""
LEADING = 3
"""How many systems are shown while the jury asks."""


def jury(jury: Jury, collection: Collection) -> JuryWidget:
    """Ask the questions of a jury in a widget, which shows a query above two pictures.

    The left or the right arrow key says that this picture is near enough to the query, the upper one that both are,
    the lower one that neither is; Backspace or u withdraws the last answer. Each answer is on disk before the next
    question is shown. The verdict comes with the cost of each system. To go on another day, run the cell again with the
    same panel, file and seed.

    Parameters
    ----------
    jury : Jury
        Its answers are kept in the file of its judgements.
    collection : Collection
        The pictures.

    Returns
    -------
    JuryWidget
        The widget; a notebook displays it if a cell ends with it.

    Raises
    ------
    MissingKeyError
        If a picture of the jury is not in the collection.

    Examples
    --------
    >>> import amulsearch as am
    >>> cartoons = am.Collection.from_folder("data/openclipart")  # doctest: +SKIP
    >>> features = am.extract(cartoons, "bundled", "penultimate", store="build/store")  # doctest: +SKIP
    >>> jury = am.measure.Jury(am.Panel(features, fusions=["rrf"]), "judged.csv")  # doctest: +SKIP
    >>> am.views.jury(jury, cartoons)  # doctest: +SKIP
    """
    return JuryWidget(jury, collection)


class JuryWidget(Widget):
    """The widget that `jury` returns.

    Attributes
    ----------
    jury : Jury
        It has the answers, the standing of the systems and the verdict.
    """

    def __init__(self, jury: Jury, collection: Collection):
        self.jury, self.collection = jury, collection.subset(jury.panel.ids)
        super().__init__("jury")

    def __repr__(self) -> str:
        return repr(self.jury)

    def _do_start(self) -> None:
        told = {"say": "jury", "count": self.jury.count, "most": self.jury.most}
        if ids := self._asked():
            pictures = [data_uri(image, QUALITY) for image in thumbnails(self.collection, ids, SIDE, progress=False)]
            self.send(told | {"ids": ids, "pictures": pictures, "systems": self._standing()[:LEADING]})
        else:
            told |= {"verdict": self.jury.verdict}
            self.send(told | {"systems": self._standing()})
            if self._costs:  # which takes seconds
                self.send(told | {"systems": [one | self._costs[one["system"]] for one in self._standing()]})

    def _do_answer(self, nearer: str, ids: list[str]) -> None:
        """Take the answer to the question that was seen; another view may have answered it."""
        if ids and ids == self._asked():
            self.jury.answer(nearer)
        self._do_start()

    def _do_undo(self) -> None:
        before = self.jury.count
        self.jury.undo()
        if self.jury.count == before:
            raise QueryError("there is nothing to undo: what was answered before this jury was made stays")
        self._do_start()

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        """Milliseconds and kilobytes a picture by system; none if a network cannot be had any more."""
        try:
            return self.jury.costs(self.collection).to_dict("index")
        except AmulsearchError:
            return {}

    def _asked(self) -> list[str]:
        """The ids of the query, the left and the right picture; none at the end."""
        question = self.jury.question
        return [] if question is None else [*astuple(question)]

    def _standing(self) -> list[dict]:
        table = self.jury.table[["system", "P@5", "low", "high", "best", "worse"]]
        return table.rename(columns={"P@5": "precision"}).to_dict("records")
