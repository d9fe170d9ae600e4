"""An interactive search for notebooks: JupyterLab, Notebook 7 and Voila. The answers come from a `Session`."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import PictureError, QueryError
from ..features import Features, Words
from ..index import NewPicture, System
from ..intake import Collection, Request, decode, near_names
from ..measure import Judgements
from ..systems import Panel
from .answers import ACROSS, SIDE, thumbnail_sheets
from .mapping import Map
from .plot import model_grid
from .selection import Selection
from .session import FUSIONS, Example, Question, Session, name_of
from .thumbnails import jpeg, thumbnails, written
from .widget import Widget

SHEET = 60
"""Pictures on a page of the contact sheet."""


def explore(
    collection: Collection,
    panel: Panel | Mapping[tuple[str, str], Features | System],
    *,
    judgements: str | os.PathLike | Judgements | None = None,
    map: Map | None = None,
    query: str | None = None,
    k: int = 5,
) -> Explorer:
    """Show the results of several systems side by side in a widget: click a picture to make it the next query.

    Parameters
    ----------
    collection : Collection
        The pictures.
    panel : Panel, or mapping of (str, str) to Features
        What answers: a panel, or features by (model, layer) as `extract` returns them.
    judgements : path or Judgements, optional
        The CSV file in which thumbs up and down and tags are saved. Without it, the widget has neither.
    map : Map, optional
        A map of the pictures, or of some of them. Without it, the widget makes one when asked, which takes some ten
        seconds for 2,000 pictures.
    query : str, optional
        The id to start with; by default, one of a sample on which the first column is most often right.
    k : int, default 5
        How many neighbours to show.

    Examples
    --------
    >>> import amulsearch as am
    >>> cartoons = am.Collection.from_folder("data/openclipart")  # doctest: +SKIP
    >>> features = am.extract(cartoons, "bundled", "penultimate", store="build/store")  # doctest: +SKIP
    >>> am.explore(cartoons, features, judgements="judgements.csv")  # doctest: +SKIP
    """
    if not isinstance(panel, Panel):
        panel = Panel(panel, fusions=FUSIONS, calibrate=True)
    if judgements is not None and not isinstance(judgements, Judgements):
        judgements = Judgements(judgements)
    return Explorer(Session(collection, panel, judgements, query, k), map)


class Explorer(Widget):
    """The widget that `explore` returns; its attributes hold what is on the screen, for use in other cells.

    Attributes
    ----------
    session : Session
        The query, the settings and the panel.
    map : Map or None
        The map.
    """

    def __init__(self, session: Session, map: Map | None):
        super().__init__("explorer")
        self.session, self.map, self.collection = session, map, session.collection
        session.check_ids(map.ids if map else ())
        self._selection = Selection(self.collection, session.judgements)
        self._worker: Thread | None = None

    def _repr_mimebundle_(self, **options):
        """The widget, and a still picture of its columns for where there is no kernel."""
        data, metadata = super()._repr_mimebundle_(**options)
        if self.found:
            (example, *_), file = self.session.question.signed("more"), io.BytesIO()
            query = example if isinstance(example, str) else example.image
            title = "In a running notebook, this is the explorer: every picture can be clicked."
            model_grid(self.collection, query, self.found, title=title).savefig(file, format="jpeg", dpi=100)
            data["image/jpeg"] = base64.b64encode(file.getvalue()).decode()
        return data, metadata

    @property
    def found(self) -> dict[str, pd.DataFrame]:
        """Column -> table of neighbours."""
        return self.session.found

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of `collection.table` of the selected pictures, in the order of the collection."""
        return self._selection.table

    def _start(self, work: Callable[[], None]) -> None:
        """Do something in the background, after what is being done there."""
        before = self._worker

        def in_turn() -> None:
            if before is not None:
                before.join()
            self._guard(work)

        self._worker = Thread(target=in_turn, daemon=True)
        self._worker.start()

    def _show(self) -> None:
        thumbs = self._selection.judged(self.session.question.name)
        self.send({"say": "view", **self.session.view(), "thumbs": thumbs})

    def _ask(self, question: Question) -> None:
        self.session.ask(question)
        self._show()

    def _do_start(self) -> None:
        self.session.show()
        self._show()
        self._do_sheet(0, "")
        self._show_selected()
        self._start(self._prepare)

    def _prepare(self) -> None:
        """Send the map, and load the networks for the first new picture."""
        if self.map is not None:
            self._show_map()
        self.session.warm_up()

    def _do_map(self) -> None:
        def lay_out() -> None:
            self.map = self.map or self.session.lay_out()
            self._show_map()

        self._start(lay_out)

    def _do_query(self, id: str) -> None:
        self._ask(Question.like(self.session.example(id)))

    def _do_more(self, id: str) -> None:
        self._ask(self.session.question.with_example(self.session.example(id), "more"))

    def _do_less(self, id: str) -> None:
        self._ask(self.session.question.with_example(self.session.example(id), "less"))

    def _do_forget(self, id: str) -> None:
        self._ask(self.session.question.without(self.session.example(id)))

    def _do_back(self, to: int = -1) -> None:
        self.session.back(to)
        self._show()

    def _do_look(self, **changed) -> None:
        self.session.change(**changed)
        self._show()

    def _do_select(self, ids: list[str], add: bool = False) -> None:
        self._selection.select([*(self._selection.ids if add else ()), *ids])
        self._show_selected()

    def _do_toggle(self, ids: list[str]) -> None:
        self._selection.select(set(self._selection.ids) ^ set(ids))
        self._show_selected()

    def _do_select_found(self, text: str) -> None:
        self._selection.select([*self._selection.ids, *self.session.find(text)])
        self._show_selected()

    def _do_tag(self, text: str) -> None:
        done = self._selection.tag(text)
        self._show()
        self.send({"say": "done", "text": done})

    def _do_copy(self, text: str) -> None:
        self.send({"say": "done", "text": self._selection.copy_to(text)})

    def _do_about(self, id: str) -> None:
        """Say what is known of a picture."""
        example = self.session.example(id)
        if isinstance(example, str):
            row = self.collection.table.iloc[self.collection.ids.index(example)]
            facts = [f"label: {row['label']}"] if isinstance(row["label"], str) else []
            facts.append(f"{row['width']:,} x {row['height']:,} pixels, {row['format']}")
            facts.append(str(self.collection.path(example)))
        elif isinstance(example.image, Words):
            facts = ["words"]
        else:
            facts = [f"{example.image.width:,} x {example.image.height:,} pixels, not in the collection"]
        self.send({"say": "about", "to": self._view, "id": id, "facts": facts})

    def _do_upload(self, name: str, content: bytes) -> None:
        try:
            image = _decoded(content, self.collection)
        except PictureError as error:
            raise PictureError(f"{name} cannot be used: {error}") from None
        digest = hashlib.sha256(content).hexdigest()
        self._ask(Question.like(NewPicture(image, f"new picture {name} {digest[:12]}")))

    def _do_words(self, text: str) -> None:
        """Ask with words; those that begin with a minus sign are to be avoided."""
        parts = text.split()
        avoided = [part for part in parts if part[0] == "-" and len(part) > 1]
        words = Words(" ".join(part for part in parts if part not in avoided), " ".join(part[1:] for part in avoided))
        self._ask(Question.like(NewPicture(words, f"words: {' '.join(parts)}")))

    def _do_crop(self, id: str, x: float, y: float, w: float, h: float) -> None:
        """Search with a part of a picture, in its place if it is in the query; x, y, w, h are fractions of its width
        and height."""
        source, question = self.session.example(id), self.session.question
        if not isinstance(source, str) and isinstance(source.image, Words):
            raise QueryError("words have no parts: choose a picture first")
        image = self._image(source)
        box = [round(edge * image.size[place % 2]) for place, edge in enumerate((x, y, x + w, y + h))]
        if box[2] - box[0] < 8 or box[3] - box[1] < 8:
            raise QueryError("the part is too small: select at least 8 x 8 pixels")
        part = NewPicture(image.crop(box), f"part {','.join(map(str, box))} of {name_of(source)}")
        pairs = tuple((sign, part if example == source else example) for sign, example in question.examples)
        self._ask(Question(pairs) if source in question.signed("more") else Question.like(part))

    def _do_judge(self, query: str, ids: list[str], relevance: int | None) -> None:
        self._selection.judge(query, ids, relevance)
        self._show()

    def _do_undo(self) -> None:
        self._selection.undo()
        self._show()

    def _do_export(self) -> None:
        name, page = self.session.page(self.map)
        self.send({"say": "page", "to": self._view, "name": f"like {name}.html", "html": page.html()})

    def _do_sheet(self, page: int, text: str) -> None:
        """Send a page of the contact sheet of the pictures that match a text."""
        ids = self.session.find(text)
        pages = max(1, -(-len(ids) // SHEET))
        page = min(max(page, 0), pages - 1)
        near = [] if ids else near_names(text, self.session.panel.ids)
        about = {"page": page, "pages": pages, "count": len(ids), "text": text, "near": near}
        self.send({"say": "sheet", "ids": ids[page * SHEET : (page + 1) * SHEET], **about})

    def _do_pictures(self, ids: list[str], side: int) -> None:
        """Send the pictures that the page lacks."""
        labels, pictures = self.session.labels, self.session.pictures
        ids = [id for id in ids if id in labels or id in pictures]
        side = min(side, 1024)
        stored = [id for id in ids if id in labels]
        images = dict(zip(stored, thumbnails(self.collection, stored, side, progress=False), strict=True))
        content = [jpeg(images.get(id) or self._image(pictures[id]), side) for id in ids]
        self.send({"say": "pictures", "side": side, "ids": ids}, content)

    def _show_selected(self) -> None:
        rows = [{"id": id, "label": self.session.labels[id]} for id in self._selection.ids]
        self.send({"say": "selected", "rows": rows})

    def _show_map(self) -> None:
        """Send the places of the pictures on the map, then their thumbnails."""
        map = self.map
        about = {"name": f"of {len(map):,} pictures", "columns": map.columns, "rows": map.rows, "ids": map.ids}
        cells = np.ascontiguousarray(map.cells, dtype="<u4").tobytes()
        self.send({"say": "map", "side": SIDE, "across": ACROSS, **about}, [cells])
        for sheet, content in enumerate(thumbnail_sheets(self.collection, map.ids, progress=False)):
            self.send({"say": "thumbnails", "sheet": sheet}, [content])

    def _image(self, example: Example) -> Image.Image:
        if isinstance(example, str):
            return self.collection.open(example)
        return written(example.image) if isinstance(example.image, Words) else example.image


def _decoded(content: bytes, collection: Collection) -> Image.Image:
    """Decode an untrusted picture in a separate process."""
    with tempfile.TemporaryDirectory() as folder:  # Windows lets nobody else read a file that is still open
        (path := Path(folder) / "picture").write_bytes(content)
        (picture,) = decode([Request(str(path), hashlib.sha256(content).hexdigest(), **collection.opening)])
    if isinstance(picture, PictureError):
        raise picture
    return Image.fromarray(picture.rgb)
