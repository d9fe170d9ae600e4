"""The systems of a store: how they are saved, whether they are current, and the panel that they make."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import models as networks  # loads no network
from ..errors import StoreError, as_argument
from ..features import Features, FeatureSet, opening_of, source_layers
from ..index import AnnoyIndex, ExactIndex, Index, System, default_kind
from ..intake import did_you_mean
from ..store import Store
from .diffusion import Diffusion
from .novelty import SAMPLE
from .panel import Panel
from .platt_scaling import calibrated
from .presets import PRESETS, Preset


def is_current(store: Store, name: str) -> bool:
    """Whether a saved system holds the pictures of the table, opened as these are, and the current features if it is of
    one layer; its name is "MODEL LAYER" or that of a preset. False also if there is none."""
    about = store.indexes.about(name)
    made_by = {" ".join(key): made for key, made in store.current().items()}.get(name)
    if about.get("revision") != store.revision:
        return False
    if made_by is None and about["fingerprint"]:
        return store.opening.items() <= opening_of(about["fingerprint"]).items()
    return made_by in (None, about["fingerprint"])


def save_index(store: Store, name: str, features: Features) -> bool:
    """Build the usual index of features, calibrate it by the labels and save it, unless the stored one is of the same
    features; whether it was built."""
    kind = default_kind()
    if not _is_old(store, name, kind, features.fingerprint):
        return False
    index = calibrated(kind.build(features))
    if len(index) > 1:
        index.spacing(SAMPLE)  # for the novelty test of a query
    index.save_in(store, name)
    return True


def save_preset(store: Store, preset: Preset, layers: Sequence[Features]) -> bool:
    """As `save_index`, for a preset over its layers."""
    parts = preset.reduced(layers)
    kind = ExactIndex if preset.joined else Diffusion
    if not _is_old(store, preset.name, kind, preset.fingerprint(parts)):
        return False
    calibrated(preset.search(parts)).save_in(store, preset.name)
    return True


def _is_old(store: Store, name: str, kind: type[Index] | type[Diffusion], fingerprint: dict) -> bool:
    """Whether a system is missing, damaged, of other features or pictures, or lacks a calibration that it can have."""
    try:
        system = kind.open_in(store, name)
    except StoreError:
        return True
    if system.fingerprint != fingerprint or not is_current(store, name):
        return True
    return not system.calibration and calibrated(system).calibration is not None


def open_system(store: Store, name: str) -> Index | Diffusion:
    """Open an index, of Annoy or exact, whichever was the default when it was saved, or a preset."""
    kinds = {kind.__name__: kind for kind in (AnnoyIndex, ExactIndex, Diffusion)}
    return kinds.get(store.indexes.about(name).get("kind"), AnnoyIndex).open_in(store, name)


def open_panel(
    store: str | Path | Store,
    models: str | Sequence[str] | None = None,
    layer: str | None = None,
    *,
    preset: str | None = None,
    fusions: Sequence[str] = ("combsum",),
    exact: bool = False,
) -> Panel:
    """Open the systems of a store: the networks of a layer, their fusions, and the preset.

    Systems that do not hold all pictures of the store are left out, with a warning; StoreError if there is no store, or
    it lacks what is asked for.

    Parameters
    ----------
    store : path or Store
    models : str or sequence of str, optional
        Networks, by default all that are indexed.
    layer : str, optional
        By default "penultimate", or the first that is indexed.
    preset : str, optional
        Only this preset. By default it is among the systems if it is indexed, and neither models nor a layer are given.
    fusions : sequence of str, default ("combsum",)
        See `Panel`.
    exact : bool, default False
        The stored features of all layers, searched exactly, in place of the indexes of one.

    Examples
    --------
    >>> import amulsearch as am
    >>> panel = am.open_panel("build/store")  # doctest: +SKIP
    >>> panel.query("photo.jpg", k=4)  # doctest: +SKIP
    """
    store = store if isinstance(store, Store) else Store.open(store)
    if preset:
        return _open_presets(store, [preset])
    presets = [name for name in (() if models or layer else PRESETS) if name in store.indexes]
    if presets and not exact and not indexed(store):
        return _open_presets(store, presets)
    systems: dict[str | tuple[str, str], System | Features] = {}
    for name in presets:
        if is_current(store, name):
            systems[name] = open_system(store, name)
        else:
            warnings.warn(_left_out(f"the preset {name}"), stacklevel=2)
    systems |= _exact(store) if exact else _open_layer(store, models, layer)
    return Panel(systems, fusions=fusions)


def _exact(store: Store) -> FeatureSet:
    features = FeatureSet.open(store)
    for key in store.current().keys() - features.keys():
        warnings.warn(f"{' '.join(key)} is left out: it does not cover all pictures; index again", stacklevel=3)
    return features


def _open_layer(store: Store, models, layer: str | None) -> dict[tuple[str, str], Index]:
    """The indexes of a layer: of these networks, or of all that are indexed."""
    stored = indexed(store)
    if not stored:
        raise StoreError(f"{store.folder} holds no index: {index_again(store)}")
    layers = list(dict.fromkeys(key[1] for key in stored))
    layer = layer or usual_layer(layers)
    having = [model for model, theirs in stored if theirs == layer]
    wanted = [str(name) for name in networks.names_of(models)] if models else having
    missing = [name for name in wanted if name not in having]
    if missing or not wanted:
        for name in missing:
            networks.get(name)  # says that no network has this name
        meant = "" if layer in layers else did_you_mean(layer, layers)
        has = "; ".join(" ".join(key) for key in stored)
        what = f"{', '.join(missing) or 'any model'} {layer}{meant}"
        raise StoreError(f"{store.folder} has no index of {what}; it has {has}")
    old = [name for name in wanted if not is_current(store, f"{name} {layer}")]
    if old and (models or old == wanted):
        again = index_again(store, [(name, layer) for name in old])
        raise StoreError(f"the collection has changed since {', '.join(old)} was indexed: {again}")
    for name in old:
        warnings.warn(_left_out(name), stacklevel=3)
    return {(name, layer): open_system(store, f"{name} {layer}") for name in wanted if name not in old}


def _left_out(name: str) -> str:
    return f"{name} is left out: the collection has changed since it was indexed"


def _open_presets(store: Store, names: Sequence[str]) -> Panel:
    """A panel of presets alone."""
    for name in names:
        if not is_current(store, name):
            missing = name not in store.indexes
            what = (
                f"the preset {name} is not indexed"
                if missing
                else f"the collection has changed since {name} was indexed"
            )
            raise StoreError(f"{what}: {index_again(store, preset=name)}")
    return Panel({name: open_system(store, name) for name in names}, reference=lambda: _layers_below(store, names[0]))


def _layers_below(store: Store, preset: str) -> list[Features]:
    """The layers that a stored preset was made of, as the networks gave them."""
    made_by = source_layers(store.indexes.about(preset)["fingerprint"])
    stored = FeatureSet.open(store)
    return [stored[key] for key in dict.fromkeys((layer["model"], layer["layer"]) for layer in made_by)]


def indexed(store: Store) -> list[tuple[str, str]]:
    """The models and layers that are indexed."""
    return [key for key in store.current() if " ".join(key) in store.indexes]


def text_towers(store: Store, models: str | Sequence[str] | None = None) -> list[str]:
    """The names of the networks with a text tower whose vectors of pictures are stored, of these or of all."""
    chosen = networks.names_of(models) if models else None
    names = [name for name, layer in store.current() if layer == "penultimate" and (chosen is None or name in chosen)]
    return [name for name in names if networks.reads_words(name)]


def usual_layer(layers: Sequence[str]) -> str:
    """The layer that answers unless another is asked for."""
    return "penultimate" if "penultimate" in layers else layers[0]


def index_again(store: Store, keys: Iterable[tuple[str, str]] = (), preset: str = "", folder: str = "") -> str:
    """The command that brings the indexes of a store up to date; keys: their models and layers."""
    command = f"run `amulsearch index {folder or as_argument(store.collection([]).folder)}"
    command += f" --store {as_argument(store.folder)}"
    for option, names in zip(("--models", "--layers"), zip(*keys, strict=True), strict=False):
        command += f" {option} {as_argument(','.join(dict.fromkeys(names)))}"
    return f"{command} --preset {preset}`" if preset else f"{command}`"
