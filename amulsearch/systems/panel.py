"""Several systems over one collection, by name, which answer the same query side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import RLock

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import MissingKeyError, QueryError, check_k
from ..features import Features, Words, l2_normalize, same_pictures, source_layers
from ..index import ExactIndex, Index, NewPicture, System, check_same
from ..models import reads_words
from .fusion import METHODS, Fusion
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
        systems that were given by names are fused as "method of n". What combines networks already is not fused.
    calibrate : bool, default False
        Whether the systems are calibrated by the labels of the pictures, so that tables have a column probability; see
        `calibrate`.
    reference : function, optional
        Returns Features with which `novelty` compares new pictures if all systems were fitted to the collection.

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
        reference: Callable[[], Sequence[Features]] | None = None,
    ):
        if not isinstance(systems, Mapping) or not systems:
            raise QueryError("a panel takes at least one system, by name or by (model, layer) as extract returns them")
        for system in systems.values():
            if not isinstance(system, (Features, System)):
                raise QueryError(f"a panel takes Features and systems, not {type(system).__name__}")
        if isinstance(fusions, str) or not set(fusions) <= set(METHODS):
            raise QueryError(f"fusions must be a list of some of {', '.join(METHODS)}, not {fusions!r}")
        self._sources = {" ".join(key) if isinstance(key, tuple) else key: one for key, one in systems.items()}
        groups = [[one for one in systems.values() if isinstance(one, kind)] for kind in (System, Features)]
        for check, group in zip((check_same, same_pictures), groups, strict=True):
            if group:
                check(group)
        if all(groups) and list(groups[0][0].ids) != list(groups[1][0].ids):
            raise QueryError("the features and the systems are not of the same pictures in the same order")
        self._titles: dict[str, dict[str, str]] = {}  # the titles of the systems of each layer, by their names
        for key in systems:
            layer, title, name = (key[1], key[0], " ".join(key)) if isinstance(key, tuple) else ("", key, key)
            self._titles.setdefault(layer, {})[name] = title
        self._fused: dict[str, tuple[list[str], str]] = {}
        for layer, titles in self._titles.items():
            names = [name for name in titles if not _combines(self._sources[name])]
            for method in fusions if len(names) > 1 else ():
                name = " ".join(filter(None, (f"{method} of {len(names)}", layer)))
                self._fused[name] = names, method
                titles[name] = method if layer else name
        if len(self._sources) < len(systems) or self._fused.keys() & self._sources.keys():
            raise QueryError("two systems would have the same name: give each another")
        self._calibrate, self._reference = calibrate, reference
        self._systems: dict[str, System] = {}
        self._novelty: dict[tuple, NoveltyTest] = {}
        self._lock = RLock()

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __getitem__(self, name: str) -> System:
        with self._lock:
            if name not in self._systems:
                self._systems[name] = self._made(name)
            return self._systems[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._sources, *self._fused])

    def __len__(self) -> int:
        return len(self._sources) + len(self._fused)

    def __repr__(self) -> str:
        return f"Panel({self.count:,} pictures: {', '.join(self)})"

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
        return next(iter(self._sources.values())).ids

    @property
    def count(self) -> int:
        """The number N of pictures (int)."""
        return len(next(iter(self._sources.values())))

    @property
    def layers(self) -> list[str]:
        """The layers of the networks that were given by (model, layer), list of str."""
        return [layer for layer in self._titles if layer]

    def titles(self, layer: str = "") -> dict[str, str]:
        """What answers for a layer, the systems without one, then its networks and their fusions: the name of each
        system -> its title beside the others of the layer, the network or the method."""
        return {**self._titles.get("", {}), **self._titles.get(layer, {})}

    def features(self, name: str) -> Features | None:
        """The features that a system was given as, if it was."""
        source = self._sources.get(name)
        return source if isinstance(source, Features) else None

    def reads(self, name: str) -> bool:
        """Whether a system answers words, by the text towers of all its networks (bool)."""
        titles = (part.title for part in self[name].parts)
        return all(layer == "penultimate" and reads_words(model) for model, layer in titles)

    def subset(self, ids: Sequence[str]) -> Panel:
        """A panel of some of the pictures: its networks, searched exactly, and their fusions; a diffusion has none."""
        chosen = {}
        for layer, titles in self._titles.items():
            for name, title in titles.items():
                index = self[name]
                if isinstance(index, Index):
                    rows = [index.row(id) for id in ids]
                    labels = index.pictures.at(rows)[1]
                    features = Features(index.take(rows), list(ids), labels, index.fingerprint, (), index.makers)
                    chosen[(title, layer) if layer else title] = ExactIndex.build(features, metric=index.metric)
        return Panel(chosen, fusions=list(dict.fromkeys(method for _, method in self._fused.values())))

    def query(
        self, query, k: int | None = None, *, less: Sequence = (), systems: Sequence[str] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Ask several systems with the same query, with one pass of each network.

        Parameters
        ----------
        query : str, path, PIL image, Words, NewPicture, or a list of these
            As for `System.query`; each vector of a list of positive examples counts the same (Rocchio). Words are
            answered by the networks with a text tower and their fusions.
        k : int, optional
            By default 10, or as many as there are.
        less : sequence of the same, default ()
            Negative examples; their mean, weighted by half, is subtracted.
        systems : sequence of str, optional
            The names of those to ask, by default all.

        Returns
        -------
        dict of str to DataFrame
            Name -> neighbours, without the examples.

        References
        ----------
        Rocchio 1971, Relevance feedback in information retrieval.
        """
        more = [self._example(example) for example in (query if isinstance(query, list) else [query])]
        less = [self._example(example) for example in less]
        if not more:
            raise QueryError("a query needs at least one picture as a positive example")
        names = list(self) if systems is None else list(systems)
        if any(isinstance(example, NewPicture) and isinstance(example.image, Words) for example in more + less):
            names = [name for name in names if self.reads(name)]
            if not names:
                raise QueryError("no system reads words: choose a network with a text tower (open_clip/REPOSITORY)")
        inside = {example for example in more + less if isinstance(example, int)}
        if len(inside) == self.count:
            raise QueryError("every picture is an example of the query: remove one, so that there is one to find")
        k = min(check_k(k, self.count - bool(inside), "other pictures"), self.count - len(inside))
        asked = {name: self[name] for name in names}
        vectors = self._vectors([part for system in asked.values() for part in system.parts], more, less)
        row, most = (more[0], k) if len(more) == 1 and not less and inside else (None, k + len(inside))
        tables = {
            name: system.answer([vectors[part] for part in system.parts], min(most, len(system)), row)
            for name, system in asked.items()
        }
        if row is not None or not inside:
            return tables
        examples, _ = self[next(iter(self))].pictures.at(sorted(inside))
        tables = {name: table[~table["id"].isin(examples)].head(k) for name, table in tables.items()}
        return {
            name: table.reset_index(drop=True).assign(rank=np.arange(1, len(table) + 1))
            for name, table in tables.items()
        }

    def _example(self, example: object) -> int | NewPicture:
        """The row of a picture of the collection, or a new picture."""
        if isinstance(example, NewPicture):
            return example
        if not isinstance(example, (str, os.PathLike, Image.Image, Words)):
            raise QueryError(f"a panel is asked with pictures or words, not with a {type(example).__name__}")
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
            combined[part] = _mean([each[example][place] for example in more], part.metric)
            if less:
                combined[part] = combined[part] - LESS * _mean([each[example][place] for example in less], part.metric)
        return combined

    def novelty(self, systems: Sequence[str] | None = None) -> NoveltyTest | None:
        """Return the test of whether a new picture is like the collection: by the vectors of these systems, by default
        all, that were not fitted to the collection. None if there is none, or only one picture."""
        parts = dict.fromkeys(part for name in systems or self for part in self[name].parts)
        parts = tuple(part for part in parts if not is_fitted(part.fingerprint))
        if self.count < 2 or not (parts or self._reference):
            return None
        with self._lock:
            if parts not in self._novelty:
                self._novelty[parts] = NoveltyTest.build(list(parts or self._reference()), sample=SAMPLE)
            return self._novelty[parts]


def _combines(source: Features | System) -> bool:
    """Whether it combines several networks already."""
    parts = [source] if isinstance(source, Features) else source.parts
    layers = [layer for part in parts if part.fingerprint for layer in source_layers(part.fingerprint)]
    return isinstance(source, Fusion) or len({layer["model"] for layer in layers}) > 1


def _mean(vectors: Sequence[np.ndarray], metric: str) -> np.ndarray:
    """The mean (1, D) of vectors (1, D), scaled to length 1 if only their directions are compared."""
    together = np.concatenate(vectors)
    return (l2_normalize(together) if metric == "angular" else together).mean(axis=0, keepdims=True)
