"""An interactive search for notebooks: JupyterLab, Notebook 7 and Voila.

What is seen is front.js, built from web/src by `npm ci && npm run build` in web/; the answers come from
`exploration.py`. The widget sends messages {"do": ...}, whose other values are the arguments of the method of
this name, and receives {"say": ...}; pictures are sent as buffers.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, PictureError, QueryError, import_optional
from ..features import Features, Words, concatenate
from ..index import Index, KeywordIndex, novelty_told, unlikely_from
from ..intake import Collection, Request, decode, fold_name, near_names
from ..measure import METHODS, Judgements
from ..models import reads_words
from .answers import ACROSS, SIDE, thumbnail_sheets
from .captions import short_name
from .exploration import Exploration, Look, NewPicture, Question
from .mapping import Map
from .page import Page
from .selection import Selection
from .thumbnails import thumbnails, written

anywidget = import_optional("anywidget", "anywidget")

HERE = Path(__file__).parent

SHEET, PAST = 60, 20
"""Pictures on a page of the contact sheet, and earlier queries that are kept, with their new pictures."""
FUSIONS = ("vote", "rrf", "combsum")
"""The fusions that are offered as columns."""


def explore(
    collection: Collection,
    features: Mapping[tuple[str, str], Features],
    *,
    presets: Mapping[str, Features | Index] | None = None,
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
    features : Mapping of (str, str) to Features
        (model, layer) -> features, as `extract` returns them.
    presets : Mapping of str to Features or Index, optional
        Name -> features, or an index such as `indexes.DiffusionIndex.build(BEST.parts(collection))`.
    judgements : path or Judgements, optional
        The CSV file in which thumbs up and down and tags are saved. Without it, the widget has neither.
    map : Map, optional
        A map of the pictures, or of some of them. Without it, the widget makes one when asked, which takes some ten
        seconds for 2,000 pictures.
    query : str, optional
        The id to start with; by default, one of a sample on which the first column is most often right.
    k : int, default 5
        How many neighbours to show.

    Returns
    -------
    Explorer
        The widget; a notebook displays it if a cell ends with it.

    Raises
    ------
    QueryError
        If there are no features, they are not of the same pictures, or an id is not in the collection.
    StoreError
        If the file of judgements cannot be read.

    Examples
    --------
    >>> import amulsearch as am
    >>> cartoons = am.Collection.from_folder("data/openclipart")  # doctest: +SKIP
    >>> features = am.extract(cartoons, "bundled", "penultimate", store="build/store")  # doctest: +SKIP
    >>> am.explore(cartoons, features, judgements="judgements.csv")  # doctest: +SKIP
    """
    if judgements is not None and not isinstance(judgements, Judgements):
        judgements = Judgements(judgements)
    return Explorer(collection, Exploration(features, presets), judgements, map, query, k)


class Explorer(anywidget.AnyWidget):
    """The widget that `explore` returns; its attributes hold what is on the screen, for use in other cells.

    Attributes
    ----------
    question : Question
        The current query.
    look : Look
        The current settings.
    found : dict of str to DataFrame
        Column -> table of neighbours.
    collection : Collection
        The pictures.
    exploration : Exploration
        The systems.
    judgements : Judgements or None
        The judgements so far.
    map : Map or None
        The map.
    """

    _esm = (HERE / "front.js").read_text(encoding="utf-8")
    _css = (HERE / "front.css").read_text(encoding="utf-8")

    def __init__(
        self,
        collection: Collection,
        exploration: Exploration,
        judgements: Judgements | None,
        map: Map | None,
        query: str | None,
        k: int,
    ):
        super().__init__()
        if len(exploration.ids) < 2:
            raise QueryError("the explorer needs at least two pictures: one to ask with, and one to find")
        self.collection, self.exploration, self.judgements, self.map = collection, exploration, judgements, map
        self._labels = dict(zip(collection.ids, collection.labels, strict=True))
        query = None if query is None else collection[[query]].ids[0]  # it may be in another Unicode form
        unknown = [id for id in (*exploration.ids, *(map.ids if map else [])) if id not in self._labels]
        if unknown:
            raise QueryError(f"no picture {unknown[0]!r} in {collection.folder}")
        layers = exploration.layers
        layer = "penultimate" if "penultimate" in layers else layers[0]
        shown = [name for name in self._columns(layer) if name not in FUSIONS or name == "rrf"]
        self.look = Look(layer, tuple(shown[:6]), min(k, len(exploration.ids) - 1))
        self.question = Question((query or exploration.opening(collection, self.look),))
        self.found = exploration.answer(self.question, self.look)
        self._pictures: dict[str, NewPicture] = {}
        self._past: list[Question] = []
        self._selection = Selection(collection, judgements)
        self._page, self._text = 0, ""
        self._view = None  # which of the views of this explorer sent the last message
        self._keywords = KeywordIndex(collection) if "keywords" in collection.table else None
        self._worker: Thread | None = None
        self.on_msg(self._receive)

    def _columns(self, layer: str) -> list[str]:
        """What can be shown with a layer."""
        return [name for name in self.exploration.columns(layer) if name not in METHODS or name in FUSIONS]

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of `collection.table` of the selected pictures, in the order of the collection."""
        return self._selection.table

    def _receive(self, _, message: dict, buffers: list) -> None:
        arguments = {name: value for name, value in message.items() if name not in ("do", "view")}
        if buffers:
            arguments["content"] = bytes(buffers[0])
        self._view = message.get("view")
        self._guard(lambda: getattr(self, f"_do_{message['do']}")(**arguments))

    def _guard(self, work: Callable[[], None]) -> None:
        """Do something, and say what goes wrong."""
        try:
            work()
        except AmulsearchError as error:
            self.send({"say": "error", "text": str(error)})
        except Exception as error:  # an error in this program must not leave the widget waiting
            traceback.print_exc()
            self.send({"say": "error", "text": f"something went wrong: {type(error).__name__}: {error}"})

    def _do_start(self) -> None:
        self._show()
        self._show_sheet()
        self._show_selected()
        self._start(self._prepare)

    def _start(self, work: Callable[[], None]) -> None:
        """Do something in the background, after what is being done there."""
        before = self._worker

        def in_turn() -> None:
            if before is not None:
                before.join()
            self._guard(work)

        self._worker = Thread(target=in_turn, daemon=True)
        self._worker.start()

    def _prepare(self) -> None:
        """Send the map, and load the networks for the first new picture."""
        if self.map is not None:
            self._show_map()
        self.exploration.warm_up(self.look)

    def _lay_out(self) -> None:
        if self.map is None:
            models, layer = self.exploration.models(self.look.layer), self.look.layer
            self.map = Map.fit(concatenate([self.exploration.features[model, layer] for model in models]))
        self._show_map()

    def _do_query(self, id: str) -> None:
        self._ask(Question((self._example(id),)))

    def _do_more(self, id: str) -> None:
        self._ask(self.question.with_(self._example(id), "more"))

    def _do_less(self, id: str) -> None:
        self._ask(self.question.with_(self._example(id), "less"))

    def _do_forget(self, id: str) -> None:
        self._ask(self.question.without(self._example(id)))

    def _do_back(self, to: int = -1) -> None:
        """Go back to the query before, or to an earlier one."""
        if self._past:
            self._show(question=self._past[to], past=self._past[:to])

    def _do_map(self) -> None:
        self._start(self._lay_out)

    def _do_select(self, ids: list[str], add: bool = False) -> None:
        self._selection.select([*(self._selection.ids if add else ()), *ids])
        self._show_selected()

    def _do_toggle(self, ids: list[str]) -> None:
        self._selection.toggle(ids)
        self._show_selected()

    def _do_select_found(self, text: str) -> None:
        self._selection.select([*self._selection.ids, *self._matching(text)])
        self._show_selected()

    def _do_tag(self, text: str) -> None:
        done = self._selection.tag(text)
        self._show()
        self.send({"say": "done", "text": done})

    def _do_copy(self, text: str) -> None:
        self.send({"say": "done", "text": self._selection.copy_to(text)})

    def _do_about(self, id: str) -> None:
        """Say what is known of a picture."""
        example = self._example(id)
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

    def _do_look(self, columns: list[str] | None = None, **changed) -> None:
        known = self._columns(changed.get("layer", self.look.layer))
        shown = self.look.columns if columns is None else columns
        self._show(look=replace(self.look, columns=tuple(name for name in shown if name in known), **changed))

    def _do_upload(self, name: str, content: bytes) -> None:
        try:
            image = _decoded(content, self.collection)
        except PictureError as error:
            raise PictureError(f"{name} cannot be used: {error}") from None
        digest = hashlib.sha256(content).hexdigest()
        self._ask(Question((NewPicture(f"new picture {name} {digest[:12]}", image),)))

    def _do_words(self, text: str) -> None:
        """Ask with words; those that begin with a minus sign are to be avoided."""
        parts = text.split()
        avoided = [part for part in parts if part[0] == "-" and len(part) > 1]
        words = Words(" ".join(part for part in parts if part not in avoided), " ".join(part[1:] for part in avoided))
        self._ask(Question((NewPicture(f"words: {' '.join(parts)}", words),)))

    def _do_crop(self, id: str, x: float, y: float, w: float, h: float) -> None:
        """Search with a part of a picture, in its place if it is in the query; x, y, w, h are fractions of its width
        and height."""
        source, question = self._example(id), self.question
        if not isinstance(source, str) and isinstance(source.image, Words):
            raise QueryError("words have no parts: choose a picture first")
        image, name = self._image(source), _name(source)
        box = [round(edge * image.size[place % 2]) for place, edge in enumerate((x, y, x + w, y + h))]
        if box[2] - box[0] < 8 or box[3] - box[1] < 8:
            raise QueryError("the part is too small: select at least 8 x 8 pixels")
        part = NewPicture(f"part {','.join(map(str, box))} of {name}", image.crop(box))
        more = tuple(part if example == source else example for example in question.more)
        self._ask(Question(more, question.less) if source in question.more else Question((part,)))

    def _do_judge(self, query: str, ids: list[str], relevance: int | None) -> None:
        self._selection.judge(query, ids, relevance)
        self._show()

    def _do_undo(self) -> None:
        self._selection.undo()
        self._show()

    def _do_export(self) -> None:
        """Send a page that opens with what is on the screen, and in which every picture can be clicked."""
        if not self.found:
            raise QueryError("there is nothing to save: choose a column first")
        asked: dict[str, str | Image.Image | Words] = {}
        for sign, part in vars(self.question).items():
            for one in part:
                caption, number = f"{sign} like {_caption(one)}", 1
                while (name := caption if number == 1 else f"{caption} ({number})") in asked:
                    number += 1
                asked[name] = one if isinstance(one, str) else one.image
        look, first = self.look, self.question.more[0]
        page = Page(f"Pictures like {_caption(first)}").text(f"Layer {look.layer}, exact search.")
        pictures = self.collection.subset(self.exploration.ids)
        single = len(asked) == 1 and isinstance(first, str)
        if not single:
            page.grid(self.collection, asked if len(asked) > 1 else first.image, self.found)
        maps = {"of the explorer": self.map} if self.map is not None and self.map.ids == pictures.ids else {}
        page.answers(pictures, self.exploration.systems(look), maps, query=first if single else None, k=look.k)
        name = f"like {_caption(first)}.html".replace("/", "_")
        self.send({"say": "page", "to": self._view, "name": name, "html": page.html()})

    def _do_sheet(self, page: int, text: str) -> None:
        self._page, self._text = page, text
        self._show_sheet()

    def _do_pictures(self, ids: list[str], side: int) -> None:
        """Send the pictures that the page lacks."""
        ids = [id for id in ids if id in self._labels or id in self._pictures]
        side = min(side, 1024)
        stored = [id for id in ids if id in self._labels]
        images = dict(zip(stored, thumbnails(self.collection, stored, side, progress=False), strict=True))
        content = [_jpeg(images.get(id) or self._image(self._pictures[id]), side) for id in ids]
        self.send({"say": "pictures", "side": side, "ids": ids}, content)

    def _example(self, id: str) -> str | NewPicture:
        if id not in self._labels and id not in self._pictures:
            raise QueryError(f"no picture {id!r} in {self.collection.folder}")
        return self._pictures.get(id, id)

    def _ask(self, question: Question) -> None:
        if not question.more:
            raise QueryError("the query needs at least one picture: click another one first")
        before = self.question
        self._show(question=question, past=[*self._past, before] if question != before else self._past)

    @property
    def _asked(self) -> str:
        """The name of the question in the judgements: the id, if the query is one picture."""
        more, less = (
            [one if isinstance(one, str) else one.name for one in part] for part in vars(self.question).values()
        )
        return " ".join([" + ".join(more), *(f"- {name}" for name in less)])

    def _show(
        self, question: Question | None = None, look: Look | None = None, past: list[Question] | None = None
    ) -> None:
        """Search, and only then accept the new question and settings: an error leaves everything as it was."""
        question, look = question or self.question, look or self.look
        start = time.perf_counter()
        found = self.exploration.answer(question, look)
        seconds = time.perf_counter() - start
        self.question, self.look, self.found = question, look, found
        self._past = (self._past if past is None else past)[-PAST:]
        self._forget_pictures()
        examples = [
            {"id": _name(one), "sign": sign, "label": self._labels.get(one)}
            for sign, part in vars(self.question).items()
            for one in part
        ]
        label, single = self._labels.get(self.question.more[0]), len(examples) == 1
        columns = [self._column(name, table, label if single else None) for name, table in self.found.items()]
        count, p_value = len(self.exploration.ids), self.exploration.p_value(question, look)
        self.send(
            {
                "say": "view",
                "most": count - 1,
                "examples": examples,
                "columns": columns,
                "look": asdict(self.look),
                "choices": {"layers": self.exploration.layers, "columns": self._columns(self.look.layer)},
                "words": any(reads_words(name) for name in self.look.columns),
                "novelty": None if p_value is None else novelty_told(p_value, count),
                "past": [{"id": _name(one.more[0]), "at": at} for at, one in enumerate(self._past)],
                "asked": self._asked,
                "thumbs": self._selection.judged(self._asked),
                "ms": round(1000 * seconds),
            }
        )

    def _forget_pictures(self) -> None:
        """Free the new pictures that are in no query to which one can go back."""
        asked = [one for question in (*self._past, self.question) for one in (*question.more, *question.less)]
        self._pictures = {one.name: one for one in asked if isinstance(one, NewPicture)}
        self.exploration.keep(self._pictures)

    def _column(self, name: str, table: pd.DataFrame, label: str | None) -> dict:
        measure = "distance" if "distance" in table else "score"
        kept = {"id": "id", "rank": "rank", measure: "value", "votes": "votes"}
        hits = table[[old for old in kept if old in table]].rename(columns=kept).to_dict("records")
        for hit, row in zip(hits, table.itertuples(), strict=True):
            hit["same"] = label is not None and row.label == label
            hit["judged"] = self.judgements.get(self._asked, row.id) if self.judgements else None
            hit["likely"] = round(100 * row.probability) if "probability" in table else None
        return {"name": name, "measure": measure, "hits": hits, "unlikely": unlikely_from(table)}

    def _show_selected(self) -> None:
        rows = [{"id": id, "label": self._labels[id]} for id in self._selection.ids]
        self.send({"say": "selected", "rows": rows})

    def _show_map(self) -> None:
        """Send the places of the pictures on the map, then their thumbnails."""
        map = self.map
        about = {"name": f"of {len(map):,} pictures", "columns": map.columns, "rows": map.rows, "ids": map.ids}
        cells = np.ascontiguousarray(map.cells, dtype="<u4").tobytes()
        self.send({"say": "map", "side": SIDE, "across": ACROSS, **about}, [cells])
        for sheet, content in enumerate(thumbnail_sheets(self.collection, map.ids, progress=False)):
            self.send({"say": "thumbnails", "sheet": sheet}, [content])

    def _matching(self, text: str) -> list[str]:
        """The pictures whose ids contain every word of a text, then those whose keywords have a word of it."""
        words, ids = fold_name(text).lower().split(), self.exploration.ids
        named = [id for id in ids if all(word in fold_name(id).lower() for word in words)]
        found = []
        if words and self._keywords is not None:
            with suppress(QueryError):  # no picture has any of them
                found = self._keywords.query(text, len(self.collection))["id"]
        shown = set(ids)
        return list(dict.fromkeys([*named, *(id for id in found if id in shown)]))

    def _show_sheet(self) -> None:
        ids = self._matching(self._text)
        pages = max(1, -(-len(ids) // SHEET))
        self._page = min(max(self._page, 0), pages - 1)
        shown = ids[self._page * SHEET : (self._page + 1) * SHEET]
        near = [] if ids else near_names(self._text, self.exploration.ids)
        about = {"page": self._page, "pages": pages, "count": len(ids), "text": self._text, "near": near}
        self.send({"say": "sheet", "ids": shown, **about})

    def _image(self, example: str | NewPicture) -> Image.Image:
        if isinstance(example, str):
            return self.collection.open(example)
        return written(example.image) if isinstance(example.image, Words) else example.image


def _jpeg(image: Image.Image, side: int) -> bytes:
    file, image = io.BytesIO(), image.copy()
    image.thumbnail((side, side))
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _name(example: str | NewPicture) -> str:
    return example if isinstance(example, str) else example.name


def _caption(example: str | NewPicture) -> str:
    if isinstance(example, NewPicture) and isinstance(example.image, Words):
        return example.name
    name = _name(example)  # "animals/cat.webp", "part 0,0,90,90 of animals/cat.webp" or "new picture mine.jpg 0a1b2c3d"
    return ("part of " if not isinstance(example, str) and "/" in name else "") + short_name(name)


def _decoded(content: bytes, collection: Collection) -> Image.Image:
    """Decode an untrusted picture in a separate process."""
    with tempfile.TemporaryDirectory() as folder:  # Windows lets nobody else read a file that is still open
        (path := Path(folder) / "picture").write_bytes(content)
        (picture,) = decode([Request(str(path), hashlib.sha256(content).hexdigest(), **collection.opening)])
    if isinstance(picture, PictureError):
        raise picture
    return Image.fromarray(picture.rgb)
