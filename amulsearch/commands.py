"""The commands of the command line, each a function of its parsed options; `query` has a module of its own."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from . import measure, models, systems, views  # what a command does not use of these is not loaded
from .errors import QueryError, as_argument, check_output, one_line
from .features import extract, source_layers
from .index import ExactIndex, default_kind
from .intake import Collection, counts_text
from .printing import aligned, print_json, say
from .querying import FUSION
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
    place = as_argument(store.folder)
    if options.preset:
        recipe = systems.preset(networks, options.preset)
        layers = recipe.layers_of(collection, **how)
        say(f"comparing the pictures for the preset {recipe.name}")
        systems.save_preset(store, recipe, layers)
        collection = store.collection()
        _report_rejected(collection.rejected)
        print(f"{len(collection)} pictures indexed with the preset {recipe.name}, in {place}")
        return collection
    features = extract(collection, networks, options.layers, **how)
    bar = tqdm(features.items(), desc="index", unit="layer", delay=1, disable=None)
    built = sum(systems.save_index(store, " ".join(key), layer) for key, layer in bar)
    _report_rejected(features.rejected)
    annoy = "for exact search, as annoy is not installed" if default_kind() is ExactIndex else "with Annoy"
    print(
        f"{len(features.collection)} pictures, {len(features.rejected)} rejected, {features.extracted} extracted, "
        f"{built} of {len(features)} indexes built {annoy}, in {place}"
    )
    return features.collection


def _report_rejected(rejected: pd.DataFrame, most: int = 20) -> None:
    for row in rejected.head(most).itertuples():
        say(f"rejected {row.id}: {row.reason}")
    if len(rejected) > most:
        say(f"... and {len(rejected) - most} more")


def _relevance(options: Namespace, collection: Collection) -> systems.Relevance:
    """The ground truth that `evaluate` is given: judgements, else the labels."""
    if options.judgements:
        if not options.judgements.is_file():
            raise QueryError(f"there is no file {options.judgements}: give the file of judgements")
        judgements = measure.Judgements(options.judgements)
        relevance = systems.Relevance.from_judgements(collection.ids, judgements.table)
        if relevance.unmatched:
            count = f"{relevance.unmatched} of {len(judgements)} judgements are left out"
            say(f"{count}: their query or their picture is not in the store")
        missing = "no query has a picture judged relevant to it and another judged not relevant: judge some of both"
    else:
        relevance = systems.Relevance.from_labels(collection.ids, collection.labels)
        missing = "no two pictures have the same label: sort the pictures into folders"
    if not len(relevance.queries):
        raise QueryError(missing)
    return relevance


def evaluate_store(options: Namespace) -> None:
    """Print how well the stored features retrieve relevant pictures."""
    store = Store.open(options.store)
    collection = store.collection()
    relevance = _relevance(options, collection)
    panel = systems.open_panel(store, preset=options.preset, fusions=FUSIONS, exact=True)
    usual = panel.titles(systems.usual_layer(panel.layers)) if panel.layers else panel
    names = [name for name in panel if name in usual or not isinstance(panel[name], systems.Fusion)]
    rows = []
    for name in tqdm(names, desc="evaluate", unit="system", delay=1, disable=None):
        result = measure.evaluate(panel.features(name) or panel[name], relevance)
        low, high = result.interval("AP")
        model, layer = _model_and_layer(name, panel)
        rows.append({"model": model, "layer": layer, **result.mean(), "mAP_low": low, "mAP_high": high})
    table = pd.DataFrame(rows).sort_values("mAP", ascending=False, ignore_index=True)
    about = {"queries": len(result.per_query), "excluded": result.excluded}
    if not options.judgements:
        about["chance"] = measure.chance_level(collection.labels)
    if options.json:
        print_json({**about, "systems": table.to_dict("records")})
        return
    print(f"{about['queries']} queries, {about['excluded']} excluded because they have no relevant picture")
    if "chance" in about:
        measures = "P@1 and P@5" if len(collection) > 5 else "P@1"
        print(f"chance level: {about['chance']:.3f}, the {measures} of random neighbours")
        if unlabelled := collection.labels.count(None):
            print(f"{unlabelled} pictures have no label: as neighbours, they count neither as right nor as wrong")
    print(aligned(table))
    if table["model"].str.startswith("vote of ").any():
        print("vote ranks no more than the first 10 neighbours of each network: compare its P@1 and P@5, not its mAP")


def _model_and_layer(name: str, panel: systems.Panel) -> tuple[str, str]:
    """What the table of `evaluate` says of a system: a network, a fusion or a preset, and its layer."""
    system = panel[name]
    if name in systems.PRESETS:
        joined = f"{len(source_layers(system.fingerprint))} layers joined"
        return name, joined if isinstance(system, ExactIndex) else str(system.title[1])
    if isinstance(system, systems.Fusion):
        return f"{system.method} of {len(system.systems)}", str(system.title[1][0])
    return system.title


def report_folder(options: Namespace) -> None:
    """Print which system to use for a folder, and write a page about it."""
    output = options.output and check_output(options.output, "the page")
    store, networks = options.store and _writable(options.store), models.get_all(options.models)
    collection = _scanned(options, store)
    how = {"k": options.k, "sample": options.sample, "sees": options.sees}
    advice = views.write_report(collection, output, models=networks, store=store, **how)
    if options.json:
        about = {"pictures": len(collection)}
        if advice:
            about |= {"measure": advice.measure, "system": advice.system, "advice": advice.advice}
            about |= {"systems": advice.table.to_dict("records")}
        print_json(about)
        return
    if advice:
        print(f"{advice}\n\n{_to_use(advice.panel, advice.system, options)}")
    if output:
        print(as_argument(options.output))


def _to_use(panel: systems.Panel, name: str, options: Namespace) -> str:
    """The commands that use a system of a report."""
    opening = "".join(f" --{name.replace('_', '-')} {as_argument(value)}" for name, value in _given(options).items())
    store = as_argument(options.store) if options.store else "DIR"
    index = f"Next: amulsearch index {as_argument(options.folder)}{opening} --store {store}"
    query = f"amulsearch query IMAGE --store {store}"
    if name in systems.PRESETS:
        return f"{index} --preset {name}\n      {query} --preset {name}"
    system = panel[name]
    if isinstance(system, systems.Fusion):
        networks, (layer,) = system.title[0], system.title[1]
        only = "" if set(networks) == set(models.BUNDLED) else f" --models {','.join(networks)}"
        return f"{index}{only} --layers {layer}\n      {query}{only} --layer {layer} --fuse {system.method}"
    model, layer = system.title
    return f"{index} --models {model} --layers {layer}\n      {query} --models {model} --layer {layer}"


def check_store(options: Namespace) -> int:
    """Print each problem of a store on a line; return 1 if there is any."""
    findings = systems.check_store(options.store, repair=options.repair)
    for finding in findings.itertuples():
        print(one_line(f"{finding.part}: {finding.finding}: {finding.remedy}"))
    if findings.empty:
        store = Store.open(options.store)
        print(
            f"no problem found in {as_argument(store.folder)}: {len(store.numbers())} pictures, {len(store.current())} "
            f"features, {len(store.indexes.names())} indexes"
        )
    return 0 if findings.empty else 1
