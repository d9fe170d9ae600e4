"""The commands of the command line, each a function of its parsed options; `query` has a module of its own."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from . import measure, models, views  # what a command does not use of these is not loaded
from .cli import PRESETS
from .errors import QueryError, StoreError, as_argument, check_output, one_line
from .features import Features, FeatureSet, extract, preset
from .index import DiffusionIndex, ExactIndex, Index, default_kind, is_current
from .index import check_store as verify
from .intake import Collection, counts_text
from .printing import aligned, print_json, say
from .querying import COMPARED, FUSION, current_presets, open_preset, usual_layer
from .querying import query_store as query_store  # the command line looks for all commands here
from .store import Store

FUSIONS = ("vote", FUSION)
"""The fusions that `evaluate` measures beside the networks: the post's, and the one that answers."""


def list_models(options: Namespace) -> None:
    """Print the table of networks."""
    table = models.table()
    if options.json:
        print_json(table.astype(object).where(table.notna(), None).to_dict("records"))
        return
    table["ready"] = table["ready"].map({True: "ready", False: "to download"})
    print(aligned(table.drop(columns="file")))
    print("MB: the file of the weights; ImageNet: top-1 accuracy in %, as torchvision states it")
    print("ms: processor time for a picture; P@5, mAP: of the penultimate layer, on the bundled cartoons")


def index_folder(options: Namespace) -> None:
    """Extract the features of a folder and index them in a store."""
    store, networks = _writable(options.store), models.get_all(options.models)
    collection = _scanned(options, store, keywords=options.keywords)
    with store.lock():  # from the first vector to the last index
        found = _index(collection, store, networks, options)
    first, place = found.ids[0], f"--store {as_argument(store.folder)}"
    query = f"{place} -- {as_argument(first)}" if first.startswith("-") else f"{as_argument(first)} {place}"
    print(
        f"Next: amulsearch query {query}"
        if len(found) > 1
        else "one picture has no neighbours: add others to the folder"
    )


def _writable(folder: Path) -> Store:
    """The store, if it can be written: before anything is computed."""
    store = Store(check_output(folder, "the store", folder=True))
    store.current()  # refuses another format
    return store


def _scanned(options: Namespace, store: Store | None, **columns) -> Collection:
    """The pictures of a folder, opened as the options say, else as those of the store; tells what was passed over."""
    if options.folder.is_dir():
        say(f"scanning {as_argument(options.folder)}")
    collection = Collection.from_folder(options.folder, **columns, **(store.opening if store else {}) | _given(options))
    if collection.passed_over:
        say(f"passed over: {counts_text(collection.passed_over)}")
    return collection


def _given(options: Namespace) -> dict:
    """How pictures are opened, as far as the options say."""
    given = {name: getattr(options, name) for name in ("frame", "background", "max_pixels")}
    return {name: value for name, value in given.items() if value is not None}


def _index(collection: Collection, store: Store, networks: list[models.Model], options: Namespace) -> Collection:
    """Return the collection without the pictures that cannot be used."""
    how = {"framing": options.framing, "precision": options.precision, "store": store}
    say(f"{len(collection)} pictures: loading networks, extracting features")
    if options.preset:
        recipe = preset(networks)
        layers = recipe.layers_of(collection, **how)
        say(f"linking the pictures for the preset {recipe.name}")
        _build(store, f"preset {recipe.name}", DiffusionIndex, recipe.reduced(layers))
        found = store.collection()
        _report_rejected(found.rejected)
        print(f"{len(found)} pictures indexed with the preset {recipe.name}, in {as_argument(store.folder)}")
        return found
    place = as_argument(store.folder)
    features = extract(collection, networks, options.layers, **how)
    kind, bar = default_kind(), tqdm(features.items(), desc="index", unit="layer", delay=1, disable=None)
    built = sum(_build(store, " ".join(key), kind, made) for key, made in bar)
    _report_rejected(features.rejected)
    print(
        f"{len(features.collection)} pictures, {len(features.rejected)} rejected, {features.extracted} extracted, "
        f"{built} of {len(features)} indexes built "
        f"{'for exact search, as annoy is not installed' if kind is ExactIndex else 'with Annoy'}, in {place}"
    )
    return features.collection


def _build(store: Store, name: str, kind: type[Index], made: Features | list[Features]) -> bool:
    """Build, calibrate and save an index, unless the stored one is of the same features."""
    made_by = made.fingerprint if isinstance(made, Features) else DiffusionIndex.fingerprint_of(made)
    try:
        index = kind.open_in(store, name)
        new = index.fingerprint != made_by or not is_current(store, name)
    except StoreError:
        new = True  # missing, damaged or outdated
    if not new and (index.calibration or not measure.calibrated(index).calibration):
        return False
    index = measure.calibrated(kind.build(made))
    if isinstance(made, Features) and len(index) > 1:
        index.spacing(COMPARED)  # for the novelty test of a query
    index.save_in(store, name)
    return True


def _report_rejected(rejected: pd.DataFrame, most: int = 20) -> None:
    for row in rejected.head(most).itertuples():
        say(f"rejected {row.id}: {row.reason}")
    if len(rejected) > most:
        say(f"... and {len(rejected) - most} more")


def evaluate_store(options: Namespace) -> None:
    """Print how well the stored features retrieve relevant pictures."""
    store = Store.open(options.store)
    collection = store.collection()
    if options.judgements:
        if not options.judgements.is_file():
            raise QueryError(f"there is no file {options.judgements}: give the file of judgements")
        judgements = measure.Judgements(options.judgements)
        relevance = measure.Relevance.from_judgements(collection.ids, judgements.table)
        if relevance.unmatched:
            count = f"{relevance.unmatched} of {len(judgements)} judgements are left out"
            say(f"{count}: their query or their picture is not in the store")
        missing = "no query has a picture judged relevant to it and another judged not relevant: judge some of both"
    else:
        relevance = measure.Relevance.from_labels(collection.ids, collection.labels)
        missing = "no two pictures have the same label: sort the pictures into folders"
    if not len(relevance.queries):
        raise QueryError(missing)
    found = _systems(store, options.preset, relevance)
    systems = []
    for (model, layer), system in tqdm(found.items(), desc="evaluate", unit="system", delay=1, disable=None):
        result = measure.evaluate(system, relevance)
        low, high = result.interval("AP")
        mean = result.mean()
        systems.append({"model": model, "layer": layer, **mean.to_dict(), "mAP_low": low, "mAP_high": high})
    systems.sort(key=lambda system: -system["mAP"])
    asked = {"queries": len(result.per_query), "excluded": result.excluded}
    if not options.judgements:
        asked["chance"] = measure.chance_level(collection.labels)
    if options.json:
        print_json({**asked, "systems": systems})
        return
    print(f"{asked['queries']} queries, {asked['excluded']} excluded because they have no relevant picture")
    if "chance" in asked:
        several = "P@1 and P@5" if len(collection) > 5 else "P@1"
        print(f"chance level: {asked['chance']:.3f}, the {several} of random neighbours")
        if unlabelled := collection.labels.count(None):
            print(f"{unlabelled} pictures have no label: as neighbours, they count neither as right nor as wrong")
    shown = pd.DataFrame(systems)
    shown["model"] = [f"preset {name}" if name in PRESETS else name for name in shown["model"]]
    print(aligned(shown))
    if any(system["model"].startswith("vote of ") for system in systems):
        print("vote ranks no more than the first 10 neighbours of each network: compare its P@1 and P@5, not its mAP")


def _systems(store: Store, preset: str | None, relevance: measure.Relevance) -> dict[tuple[str, str], object]:
    """The systems to evaluate by model and layer: networks, fusions of them, and the presets; or one preset."""
    indexes = [(name, open_preset(store, name)) for name in ([preset] if preset else current_presets(store))]
    presets = {(name, index.fingerprint["layer"]): index for name, index in indexes}
    if preset:
        return presets
    found = FeatureSet.open(store)
    for model, layer in store.current().keys() - found.keys():
        say(f"{model} {layer} is left out: it does not cover all pictures; index the folder again")
    layers = [layer for _, layer in found]
    layer = usual_layer(layers)
    parts = [found[key] for key in found if key[1] == layer]
    fused = FUSIONS if len(parts) > 1 else ()
    fusions = {
        (f"{method} of {len(parts)}", layer): measure.fused_similarities(parts, method, relevance=relevance)
        for method in fused
    }
    return {**found, **fusions, **presets}


def report_folder(options: Namespace) -> None:
    """Write a page about a folder and print its path."""
    output = check_output(options.output, "the page")
    store, networks = options.store and _writable(options.store), models.get_all(options.models)
    collection = _scanned(options, store)
    print(as_argument(views.write_report(collection, output, models=networks, k=options.k, store=store)))


def compare_systems(options: Namespace) -> None:
    """Print which network, layer or fusion to use for a folder, and write a page about it."""
    if options.output:
        check_output(options.output, "the page")
    store, networks = options.store and _writable(options.store), models.get_all(options.models)
    collection = _scanned(options, store)
    found = measure.recommend(collection, networks, sample=options.sample, store=store)
    if options.output:
        from .views import comparison_page  # imports matplotlib

        comparison_page(found).save(options.output)
    if options.json:
        systems = found.table.to_dict("records")
        about = {"pictures": len(found.pictures), "measure": found.measure}
        about |= {"system": found.system, "advice": found.advice}
        print_json({**about, "systems": systems})
        return
    print(f"{found}\n\n{_to_use(found.system, list(found.indexes), options)}")
    if options.output:
        print(as_argument(options.output))


def _to_use(system: str, singles: list[str], options: Namespace) -> str:
    """The commands that use a system of `recommend`; `singles` are the names of those that are not fused."""
    name, _, layer = system.rpartition(" ")
    opening = "".join(f" --{name.replace('_', '-')} {as_argument(value)}" for name, value in _given(options).items())
    store = as_argument(options.store) if options.store else "DIR"
    index = f"Next: amulsearch index {as_argument(options.folder)}{opening} --store {store}"
    query = f"amulsearch query IMAGE --store {store}"
    if name == "preset":
        return f"{index} --preset {layer}\n      {query} --preset {layer}"
    method, _, several = name.partition(" of ")
    if several:
        fused = ",".join(one.removesuffix(f" {layer}") for one in singles if one.endswith(f" {layer}"))
        only = "" if fused == ",".join(models.BUNDLED) else f" --models {fused}"
        return f"{index}{only} --layers {layer}\n      {query}{only} --layer {layer} --fuse {method}"
    return f"{index} --models {name} --layers {layer}\n      {query} --models {name} --layer {layer}"


def check_store(options: Namespace) -> int:
    """Print each problem of a store on a line; return 1 if there is any."""
    findings = verify(options.store, repair=options.repair)
    for finding in findings.itertuples():
        print(one_line(f"{finding.part}: {finding.finding}: {finding.remedy}"))
    if findings.empty:
        store = Store.open(options.store)
        print(
            f"no problem found in {as_argument(store.folder)}: {len(store.numbers())} pictures, {len(store.current())} "
            f"features, {len(store.indexes.names())} indexes"
        )
    return 0 if findings.empty else 1
