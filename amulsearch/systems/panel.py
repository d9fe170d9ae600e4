"""Several systems over one collection, by name, which answer the same query side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import MissingKeyError, QueryError, check_k
from ..features import Features, Words, l2_normalize
from ..index import ExactIndex, Index, NewPicture, System
from ..models import reads_words
from .fusion import Fusion
from .keywords import Keywords
from .novelty import SAMPLE, NoveltyTest, is_fitted
from .platt_scaling import calibrated

LESS = 0.5
"""The weight of the negative examples, relative to the positive ones."""


class Panel(Mapping[str, System]):
    """Systems by name over one collection; `panel[name]` is one, `panel.query` asks them all.

    The command line, the explorer, the page, the report and the comparison take a Panel.

    Parameters
    ----------
    systems : mapping of str or (str, str) to Features or System
        By name, or as `extract` returns them by (model, layer), whose name is "model layer". Features are searched
        exactly. All are of the same pictures in the same order.
    fusions : sequence of str, default ()
        Methods of `Fusion`. For each layer of several networks, there is a system "method of n layer" that fuses them;
        systems that were given by names are fused as "method of n".
    calibrate : bool, default False
        Whether the tables have a column probability, from the labels of the pictures; see `calibrate`.
    reference : sequence of Features, default ()
        With what `novelty` compares new pictures if all systems were fitted to the collection.

    Raises
    ------
    QueryError
        If there are no systems, or they are of different pictures.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> rng, ids = np.random.default_rng(0), ["a", "b", "c", "d"]
    >>> systems = {name: am.Features(rng.standard_normal((4, 3)), ids) for name in ("first", "second")}
    >>> panel = am.Panel(systems, fusions=["combsum"])
    >>> {name: table["id"].tolist() for name, table in panel.query("a", k=2).items()}
    {'first': ['b', 'd'], 'second': ['b', 'c'], 'combsum of 2': ['b', 'd']}
    """

    def __init__(
        self,
        systems: Mapping[str | tuple[str, str], Features | System],
        *,
        fusions: Sequence[str] = (),
        calibrate: bool = False,
        reference: Sequence[Features] = (),
    ):
        if not isinstance(systems, Mapping) or not systems:
            raise QueryError("a panel takes at least one system, by name or by (model, layer) as extract returns them")
        self._calibrate = calibrate
        self._sources = {" ".join(key) if isinstance(key, tuple) else key: one for key, one in systems.items()}
        self._first = next(iter(self._sources.values()))
        if any(one.ids != self._first.ids for one in self._sources.values()):
            raise QueryError("the systems are not of the same pictures in the same order")
        self._reference = tuple(reference)
        self._titles: dict[str, dict[str, str]] = {}  # the titles of the systems of each layer, by their names
        for key, name in zip(systems, self._sources, strict=True):
            layer, title = (key[1], key[0]) if isinstance(key, tuple) else ("", key)
            self._titles.setdefault(layer, {})[name] = title
        self._fused = {}
        for layer, titles in list(self._titles.items()):
            names = [name for name in titles if not isinstance(self._sources[name], (Fusion, Keywords))]
            for method in fusions if len(names) > 1 else ():
                name = " ".join(filter(None, (f"{method} of {len(names)}", layer)))
                self._fused[name] = names, method
                titles[name] = method if layer else name
        self._systems: dict[str, System] = {}
        self._novelty: dict[tuple, NoveltyTest] = {}

    def __getitem__(self, name: str) -> System:
        if name not in self._systems:
            self._systems[name] = self._made(name)
        return self._systems[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._sources, *self._fused])

    def __len__(self) -> int:
        return len(self._sources) + len(self._fused)

    def __repr__(self) -> str:
        return f"Panel({len(self.ids):,} pictures: {', '.join(self)})"

    def _made(self, name: str) -> System:
        if name in self._fused:
            names, method = self._fused[name]
            return Fusion([self[one] for one in names], method)
        if name not in self._sources:
            raise MissingKeyError(f"there is no system {name!r}: choose from {', '.join(self)}")
        system = self._sources[name]
        if isinstance(system, Features):
            system = ExactIndex.build(system)
        if self._calibrate and not system.calibration:
            calibrated(system)
        return system

    @property
    def ids(self) -> list[str]:
        """The N ids, list of str."""
        return self._first.ids

    @property
    def layers(self) -> list[str]:
        """The layers of the networks that were given by (model, layer), list of str."""
        return [layer for layer in self._titles if layer]

    def titles(self, layer: str = "") -> dict[str, str]:
        """What answers for a layer: the systems without one, then its networks and their fusions.

        Parameters
        ----------
        layer : str, default ""

        Returns
        -------
        dict of str to str
            The name of each system -> its title beside the others of the layer: the network, or the method.
        """
        return {**self._titles.get("", {}), **self._titles.get(layer, {})}

    def features(self, name: str) -> Features | None:
        """The features that a system was given as, if it was."""
        source = self._sources.get(name)
        return source if isinstance(source, Features) else None

    def query(
        self,
        query,
        k: int | None = None,
        *,
        less: Sequence = (),
        systems: Sequence[str] | None = None,
        within: Sequence[str] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Ask several systems with the same query, with one pass of each network.

        Parameters
        ----------
        query : str, path, PIL image, Words, NewPicture, or a list of these
            As for `System.query`; each vector of a list of positive examples counts the same (Rocchio). Words are
            answered by the networks with a text tower and their fusions; if there are none, by keywords.
        k : int, optional
            By default 10, or as many as there are.
        less : sequence of the same, default ()
            Negative examples; their mean, weighted by half, is subtracted.
        systems : sequence of str, optional
            The names of those to ask, by default all.
        within : sequence of str, optional
            The ids among which to find neighbours, by default all.

        Returns
        -------
        dict of str to DataFrame
            Name -> neighbours, without the examples.

        Raises
        ------
        QueryError
            As `System.query`; without a positive example; and if no system reads words that are among the examples.

        References
        ----------
        Rocchio 1971, Relevance feedback in information retrieval.
        """
        more = [self._example(example) for example in (query if isinstance(query, list) else [query])]
        less = [self._example(example) for example in less]
        if not more:
            raise QueryError("a query needs at least one picture as a positive example")
        names = list(self) if systems is None else list(systems)
        words = [one.image for one in more + less if isinstance(one, NewPicture) and isinstance(one.image, Words)]
        if words:
            names = self._readers(names, words[0])
        elif systems is None:
            names = [name for name in names if self[name].parts]
        inside = {one for one in more + less if isinstance(one, int)}
        count = len(self._first)
        if len(inside) == count:
            raise QueryError("every picture is an example of the query: remove one, so that there is one to find")
        k = min(check_k(k, count - bool(inside), "other pictures"), count - len(inside))
        asked = {name: self[name] for name in names}
        vectors = self._vectors([part for system in asked.values() for part in system.parts], more, less)
        if words and not asked[names[0]].parts:
            return {name: system.query(words[0], k) for name, system in asked.items()}
        if len(more) == 1 and not less and within is None:
            row = more[0] if inside else None
            return {
                name: system.answer([vectors[part] for part in system.parts], k, row) for name, system in asked.items()
            }
        examples = {self.ids[row] for row in inside}
        ids = set(self.ids if within is None else within) - examples
        depth = count if within is not None else min(k + len(inside), count)
        tables = {
            name: system.answer([vectors[part] for part in system.parts], depth) for name, system in asked.items()
        }
        tables = {name: table[table["id"].isin(ids)].head(k).reset_index(drop=True) for name, table in tables.items()}
        return {name: table.assign(rank=np.arange(1, len(table) + 1)) for name, table in tables.items()}

    def _readers(self, names: Sequence[str], words: Words) -> list[str]:
        """The systems that read words: by text towers, or else by keywords."""
        towers = [name for name in names if self[name].parts and all(map(_reads, self[name].parts))]
        found = towers or [name for name in names if isinstance(self[name], Keywords)]
        if not found:
            raise QueryError("no system reads words: choose a network with a text tower (open_clip/REPOSITORY)")
        return found

    def reads(self, name: str) -> bool:
        """Whether a system answers words (bool)."""
        system = self[name]
        return all(map(_reads, system.parts)) if system.parts else isinstance(system, Keywords)

    def _example(self, example) -> int | NewPicture:
        """The row of a picture of the collection, or a new picture."""
        if isinstance(example, NewPicture):
            return example
        row = self[next(iter(self))].row(example) if isinstance(example, str) else None
        return NewPicture(example) if row is None else row

    def _vectors(self, parts: Sequence[Index], more: list, less: list) -> dict[Index, np.ndarray]:
        """The vector (1, D) of the query in each part."""
        parts = list(dict.fromkeys(parts))
        each = {
            example: [part.take([example]) for part in parts] if isinstance(example, int) else example.vectors(parts)
            for example in dict.fromkeys(more + less)
        }
        if len(more) == 1 and not less:
            return dict(zip(parts, each[more[0]], strict=True))
        combined = {}
        for place, part in enumerate(parts):
            mean = lambda examples: l2_normalize(np.concatenate([each[one][place] for one in examples])).mean(axis=0)  # noqa: B023, E731
            combined[part] = (mean(more) - (LESS * mean(less) if less else 0))[None]
        return combined

    def novelty(self, systems: Sequence[str] | None = None) -> NoveltyTest | None:
        """Return the test of whether a new picture is like the collection.

        Parameters
        ----------
        systems : sequence of str, optional
            The names of those whose vectors are compared, by default all; those that were fitted to the collection
            take no part.

        Returns
        -------
        NoveltyTest or None
            None if there is no such system, or only one picture.
        """
        parts = dict.fromkeys(part for name in systems or self for part in self[name].parts)
        parts = tuple(part for part in parts if not is_fitted(part.fingerprint))
        parts = parts or self._reference
        if not parts or len(self._first) < 2:
            return None
        if parts not in self._novelty:
            self._novelty[parts] = NoveltyTest.build(list(parts), sample=SAMPLE)
        return self._novelty[parts]


def _reads(part: Index) -> bool:
    model, layer = part.title
    return layer == "penultimate" and isinstance(model, str) and reads_words(model)
