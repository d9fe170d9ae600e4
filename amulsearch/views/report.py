"""A report about a folder of pictures: which system to use, any picture as a query, near-duplicates, contents."""

import os
import tempfile
from pathlib import Path

from tqdm.auto import tqdm

from .. import models as networks  # loads no network
from ..errors import QueryError, check_integer, check_output
from ..features import Features, FeatureSet, extract
from ..intake import Collection
from ..measure import LEAST, Recommendation, recommend
from ..store import Store
from ..systems import COPY_LAYERS, PRESETS, Panel
from .mapping import sampled
from .page import Page
from .report_parts import PARTS, Report

LAYERS = "logits", "penultimate", "last:gem"
"""The layers of each network that are compared."""
FUSIONS = ("vote", "rrf", "combsum")
COMPARED, ANSWERED = 2000, 20_000
"""Maximum numbers of pictures that query for the measures, and that can be asked with. In a larger folder each is a
random sample, and the page says so."""


def write_report(
    folder: str | os.PathLike | Collection,
    output: str | os.PathLike | None = None,
    *,
    models: str | list = networks.BUNDLED,
    k: int = 8,
    store: str | os.PathLike | Store | None = None,
    sample: int = COMPARED,
    sees: bool | None = None,
    progress: bool = True,
) -> Recommendation | None:
    """Say which system to use for a folder of pictures, and write a page about it, as `amulsearch report` does.

    The page begins with that advice. It answers queries by any picture, with a map (see `Page.answers`). Networks,
    layers, their fusions and the presets are compared, by the subfolders as labels if there are any. It ends with
    near-duplicates and the files that were read, skipped and rejected. In a large folder, some parts are made of a
    random sample, and say so.

    The page is written after each part: if the run is interrupted, it holds the parts that were done.

    Parameters
    ----------
    folder : str, path or Collection
        Folder of pictures, scanned with its subfolders; or the scanned pictures.
    output : str or path, optional
        HTML file to write. Without it, only `sample` pictures are compared.
    models : str or list, default `models.BUNDLED`
        Networks, as `extract` takes them. The presets are among the systems if their networks are.
    k : int, default 8
        How many neighbours of each picture the page shows.
    store : str, path or Store, optional
        Keeps the features for later runs. By default they are discarded.
    sample : int, default 2000
        How many pictures query for the measures: a random sample, or all if there are fewer.
    sees : bool, optional
        Whether the page finds pictures like a new one by itself; see `Page.answers`.
    progress : bool, default True
        Show progress bars.

    Returns
    -------
    Recommendation or None
        None for fewer than five pictures; QueryError for fewer than two.
    """
    output = None if output is None else check_output(output, "the page")
    k, sample = check_integer("k", k), check_integer("sample", sample)
    collection = folder
    if not isinstance(folder, Collection):
        collection = Collection.from_folder(folder, progress=progress)
    if output is None and len(collection) > sample:
        collection = collection.subset(collection.sample(sample))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # Windows deletes no mapped file
        records = networks.get_all(models)
        features = _extracted(collection, records, {"store": store or temporary, "progress": progress})
        panel = _panel({key: sampled(layer, ANSWERED) for key, layer in features.items()}, records)
        pictures, advice = features.collection.subset(panel.ids), None
        if len(pictures) >= LEAST:
            advice = recommend(panel, pictures, sample=sample, progress=progress)
        if output is not None:
            _write(Report(features, panel, pictures, advice, k, sees), output, progress)
        return advice


def _extracted(collection: Collection, records: list[networks.Model], how: dict) -> FeatureSet:
    """Every layer that is compared, those of the presets and those that show copies: each picture is decoded once."""
    layers = {model.name: [layer for layer in LAYERS if layer != "logits" or model.classes != 0] for model in records}
    presets = [preset.viewed for preset in PRESETS.values() if preset.layers.keys() <= layers.keys()]
    for wanted in (*presets, COPY_LAYERS):
        for name, more in wanted.items():
            layers[name] = list(dict.fromkeys([*layers.get(name, ()), *more]))
    if len(collection) > 1:
        features = extract(collection, [*records, *layers.keys() - {model.name for model in records}], layers, **how)
        collection = features.collection
    if len(collection) < 2:
        only = f"only {len(collection)} of those in {collection.folder} can be used"
        raise QueryError(f"a report needs at least two pictures, but {only}")
    return features


def _panel(layers: dict[tuple[str, str], Features], records: list[networks.Model]) -> Panel:
    """The presets, the networks by layer and their fusions."""
    enough, names = len(next(iter(layers.values()))) > 2, {model.name for model in records}
    presets = {
        name: preset.system([layers[key] for key in preset.keys])
        for name, preset in PRESETS.items()
        if enough and layers.keys() >= set(preset.keys)
    }
    compared = {key: layer for key, layer in layers.items() if key[0] in names and key[1] in LAYERS}
    return Panel({**presets, **compared}, fusions=FUSIONS, calibrate=True)


def _write(report: Report, output: Path, progress: bool) -> None:
    collection = report.features.collection
    title = f"{len(collection):,} pictures in {collection.folder.name or collection.folder}"
    page = Page(f"{title} (unfinished)")
    bar = tqdm(PARTS.items(), unit="part", delay=1, disable=not progress or None)
    for name, part in bar:
        bar.set_description(f"report: {name}")
        part(page, report)
        page.save(output)
    page.title = title
    page.save(output)
