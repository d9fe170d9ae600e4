"""What the explorer knows: the query, its answers by a panel, and the earlier queries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import QueryError, check_integer
from ..features import Features, Words, concatenate
from ..index import NewPicture, unlikely_from
from ..intake import Collection, fold_name
from ..measure import Judgements
from ..systems import Fusion, Keywords, Panel
from .answers import most_telling
from .captions import short_name
from .mapping import Map
from .page import Page

COLUMNS, PAST, OPENINGS = 6, 20, 40
"""How many columns are shown at first, how many earlier queries are kept, with their new pictures, and of how many
pictures `Session.opening` chooses one."""

FUSIONS = ("vote", "rrf", "combsum")
"""The fusions that are offered as columns."""

Example = str | NewPicture


@dataclass(frozen=True)
class Question:
    """A query of examples, each with its sign: "more", of which there is at least one, or "less" like it."""

    examples: tuple[tuple[str, Example], ...]

    @classmethod
    def like(cls, example: Example) -> Question:
        return cls((("more", example),))

    def with_example(self, example: Example, sign: str) -> Question:
        """With one more example; if it is there already, it moves."""
        return Question((*self.without(example).examples, (sign, example)))

    def without(self, example: Example) -> Question:
        return Question(tuple(pair for pair in self.examples if pair[1] != example))

    def signed(self, sign: str) -> list[Example]:
        return [example for own, example in self.examples if own == sign]

    @property
    def name(self) -> str:
        """The name of the query in the judgements: the id, if the query is one picture."""
        more, less = ([name_of(example) for example in self.signed(sign)] for sign in ("more", "less"))
        return " ".join([" + ".join(more), *(f"- {name}" for name in less)])


@dataclass(frozen=True)
class Look:
    """The layer of the networks, the titles of the systems that are shown, and how many neighbours of each."""

    layer: str
    columns: tuple[str, ...]
    k: int = 5


class Session:
    """The query, the settings and the answers that an explorer shows."""

    def __init__(self, collection: Collection, panel: Panel, judgements: Judgements | None, query: str | None, k: int):
        if len(panel.ids) < 2:
            raise QueryError("the explorer needs at least two pictures: one to ask with, and one to find")
        self.collection, self.panel, self.judgements = collection, panel, judgements
        self._keywords = Keywords(collection) if "keywords" in collection.table else None
        self.labels = dict(zip(collection.ids, collection.labels, strict=True))
        query = None if query is None else collection[[query]].ids[0]  # it may be in another Unicode form
        self.check_ids(panel.ids)
        layers = panel.layers or [""]
        layer = "penultimate" if "penultimate" in layers else layers[0]
        systems = self.systems(layer)
        shown = [title for title, name in systems.items() if title == "rrf" or not isinstance(panel[name], Fusion)]
        self.look = Look(layer, tuple(shown[:COLUMNS]), min(check_integer("k", k), len(panel.ids) - 1))
        self.past: list[Question] = []
        self.pictures: dict[str, NewPicture] = {}
        self.question = Question.like(query or self.opening())
        self.found, self.milliseconds = self.answer(self.question, self.look), 0
        self.novelty: str | None = None

    def check_ids(self, ids: Sequence[str]) -> None:
        """Refuse ids that are not those of pictures of the collection, letter for letter."""
        if other := next((id for id in ids if id not in self.labels), None):
            raise QueryError(f"no picture {other!r} in {self.collection.folder}")

    def systems(self, layer: str) -> dict[str, str]:
        """What can be shown with a layer: title -> name in the panel."""
        return {title: name for name, title in self.panel.titles(layer).items()}

    def answer(self, question: Question, look: Look) -> dict[str, pd.DataFrame]:
        """The neighbours by column."""
        systems, titles = self.systems(look.layer), self.panel.titles(look.layer)
        names = [systems[title] for title in look.columns]
        if not names:
            return {}
        tables = self.panel.query(question.signed("more"), look.k, less=question.signed("less"), systems=names)
        return {titles[name]: table for name, table in tables.items()}

    def show(self, question: Question | None = None, look: Look | None = None, past: Sequence[Question] | None = None):
        """Search, and only then accept the new question and settings: an error leaves everything as it was."""
        question, look = question or self.question, look or self.look
        start = time.perf_counter()
        found = self.answer(question, look)
        self.milliseconds = round(1000 * (time.perf_counter() - start))
        self.question, self.look, self.found = question, look, found
        self.past = list(self.past if past is None else past)[-PAST:]
        known = [example for question in (*self.past, self.question) for _, example in question.examples]
        self.pictures = {example.name: example for example in known if isinstance(example, NewPicture)}
        self.novelty = self._novelty()

    def ask(self, question: Question) -> None:
        if not question.signed("more"):
            raise QueryError("the query needs at least one picture: click another one first")
        self.show(question, past=[*self.past, self.question] if question != self.question else self.past)

    def back(self, to: int = -1) -> None:
        """Go back to the query before, or to an earlier one."""
        if self.past:
            self.show(self.past[to], past=self.past[:to])

    def change(self, columns: Sequence[str] | None = None, **changed) -> None:
        """Change the settings; columns that the layer lacks are left out."""
        known = self.systems(changed.get("layer", self.look.layer))
        shown = self.look.columns if columns is None else columns
        self.show(look=replace(self.look, columns=tuple(title for title in shown if title in known), **changed))

    def example(self, id: str) -> Example:
        if id not in self.labels and id not in self.pictures:
            raise QueryError(f"no picture {id!r} in {self.collection.folder}")
        return self.pictures.get(id, id)

    def opening(self) -> str:
        """Of a sample of 40 pictures, the one for which the first column finds the most neighbours of its label, and
        more of them than the other columns if several are equal; the first picture if there are no labels."""
        sample = self.collection.subset(self.panel.ids).sample(min(OPENINGS, len(self.panel.ids)))
        ids = [id for id in sample if self.labels[id] is not None] if self.look.columns else []
        found = [self.answer(Question.like(id), self.look).values() for id in ids]
        pairs = zip(ids, found, strict=True)
        hits = np.array([[(table["label"] == self.labels[id]).sum() for table in tables] for id, tables in pairs]).T
        return ids[most_telling(hits)] if hits.size and hits[0].any() else self.panel.ids[0]

    def warm_up(self) -> None:
        """Load the networks of the layer, so that the first new picture need not wait for them."""
        test = self._test()
        if test is not None and all(part.fingerprint for part in test.parts):
            NewPicture(Image.new("RGB", (64, 64))).vectors(test.parts)

    def lay_out(self) -> Map:
        """A map of the pictures by all networks with the layer."""
        layers = [self.panel.features(name) for name in self.panel.titles(self.look.layer)]
        return Map.fit(concatenate([layer for layer in layers if isinstance(layer, Features)]))

    def find(self, text: str) -> list[str]:
        """The pictures whose ids contain every word of a text, then those whose keywords have a word of it."""
        words, ids = fold_name(text).lower().split(), self.panel.ids
        named = [id for id in ids if all(word in fold_name(id).lower() for word in words)]
        keyed = []
        if words and self._keywords is not None:
            with suppress(QueryError):  # no picture has any of them
                keyed = self._keywords.query(text, len(self.collection))["id"]
        shown = set(ids)
        return list(dict.fromkeys([*named, *(id for id in keyed if id in shown)]))

    def page(self, map: Map | None) -> tuple[str, Page]:
        """A name of the query, and a page that opens with it, in which every picture can be clicked."""
        if not self.found:
            raise QueryError("there is nothing to save: choose a column first")
        (_, first), *others = self.question.examples
        name = short_name(name_of(first))
        page = Page(f"Pictures like {name}").text(f"Layer {self.look.layer}." if self.look.layer else "")
        query = first if isinstance(first, str) and not others else None
        if query is None:
            captions = {
                f"{sign} like {name_of(example)}": example if isinstance(example, str) else example.image
                for sign, example in self.question.examples
            }
            page.grid(self.collection, captions, self.found)
        pictures, systems = self.collection.subset(self.panel.ids), self.systems(self.look.layer)
        maps = {"of the explorer": map} if map is not None and map.ids == pictures.ids else {}
        systems = {title: self.panel[systems[title]] for title in self.look.columns}
        return name, page.answers(pictures, systems, maps, query=query, k=self.look.k)

    def view(self) -> dict:
        """What the front end shows."""
        (_, first), *others = self.question.examples
        label = None if others else self.labels.get(first)
        systems = self.systems(self.look.layer)
        return {
            "most": len(self.panel.ids) - 1,
            "examples": [
                {"id": name_of(example), "sign": sign, "label": self.labels.get(example)}
                for sign, example in self.question.examples
            ],
            "columns": [self._column(title, table, label) for title, table in self.found.items()],
            "look": asdict(self.look),
            "choices": {"layers": self.panel.layers or [""], "columns": list(systems)},
            "words": any(self.panel.reads(systems[title]) for title in self.look.columns),
            "novelty": self.novelty,
            "past": [{"id": name_of(question.examples[0][1]), "at": at} for at, question in enumerate(self.past)],
            "asked": self.question.name,
            "ms": self.milliseconds,
        }

    def _column(self, title: str, table: pd.DataFrame, label: str | None) -> dict:
        measure = "distance" if "distance" in table else "score"
        kept = {"id": "id", "rank": "rank", measure: "value", "votes": "votes"}
        hits = table[[old for old in kept if old in table]].rename(columns=kept).to_dict("records")
        for hit, row in zip(hits, table.itertuples(), strict=True):
            hit["same"] = label is not None and row.label == label
            hit["judged"] = self.judgements.get(self.question.name, row.id) if self.judgements else None
            hit["likely"] = round(100 * row.probability) if "probability" in table else None
        return {"name": title, "measure": measure, "hits": hits, "unlikely": unlikely_from(table)}

    def _test(self):
        return self.panel.novelty(list(self.panel.titles(self.look.layer)))

    def _novelty(self) -> str | None:
        """Whether a query of one new picture is like the collection, in a sentence."""
        ((_, example), *more) = self.question.examples
        if more or isinstance(example, str) or isinstance(example.image, Words):
            return None
        test = self._test()
        return None if test is None else test.sentence(test.p_value(example))


def name_of(example: Example) -> str:
    return example if isinstance(example, str) else example.name
