"""Fine-tuning: train the last blocks of a bundled network on a relevance; the earlier blocks stay frozen."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import ModelError, PictureError, QueryError, StoreError, check_integer
from ..features import prepared
from ..intake import Collection
from ..measure import Relevance, evaluate
from ..models import Model, OwnFile
from ..store import replacing
from .training import Batches, TrainingConfig, split, train

SLOW = TrainingConfig(learning_rate=3e-5, epochs=20, patience=4, batch_size=64, dropout=0.0)
"""The default configuration of `fine_tune`: pretrained weights need smaller steps than a head."""


def fine_tune(
    collection: Collection,
    model: str | Model,
    path: str | os.PathLike,
    relevance: Relevance | None = None,
    *,
    ids: Sequence[str] | None = None,
    blocks: int = 1,
    name: str | None = None,
    framing: str = "pad",
    config: TrainingConfig = SLOW,
    progress: bool = True,
) -> Model:
    """Train the last blocks of a bundled network to place relevant pictures near each other.

    The penultimate layer is trained. The classifier keeps its weights, so the logits are no longer meaningful. Batch
    normalisation keeps the statistics of the original network. A thousand pictures take minutes on two cores, and
    seconds on a GPU, which is used if torch finds one.

    Parameters
    ----------
    collection : Collection
        Its pictures in the order of `relevance`. Pictures that cannot be decoded are skipped.
    model : str or Model
        One of the bundled networks.
    path : path
        Where to save the weights; the ending becomes ``.safetensors``. `load_fine_tuned` reads the file.
    relevance : Relevance, optional
        By default, pictures with the same label are relevant to each other.
    ids : sequence of str, optional
        The pictures to train with; by default, all of them.
    blocks : int, default 1
        How many blocks to train, counted from the last. Their inputs are computed once for each picture and its
        mirror image, and kept in memory: about 40 KB each for one block of EfficientNet-Lite0.
    name : str, optional
        Name of the new model; by default, the name of `model` followed by ``-tuned``.
    framing : {"pad", "crop", "squash"}, default "pad"
        How a picture is made square; see `models.resize_image`.
    config : TrainingConfig
        The loss and the schedule. By default ``learning_rate=3e-5``, ``epochs=20``, ``patience=4``,
        ``batch_size=64``; `dropout` has no effect here.
    progress : bool, default True
        Whether to show progress bars.

    Returns
    -------
    Model
        A model that `extract` accepts.

    Raises
    ------
    ModelError
        If `model` is not bundled, or `name` is that of a network in the table.
    QueryError
        If `relevance` is of other pictures, `blocks` is too large, or too few pictures are relevant to each other.
    StoreError
        If the weights cannot be written.
    """
    import torch

    from ..models import load

    base = model_table.get(model)
    if base.name not in model_table.BUNDLED:
        raise ModelError(f"{base.name} is not a bundled network: use one of {', '.join(model_table.BUNDLED)}")
    name = name or f"{base.name}-tuned"
    if name in model_table.TABLE:
        raise ModelError(f"{name} is the name of a network in the table: choose another name")
    relevance = relevance or Relevance.from_labels(collection.ids, collection.labels)
    if relevance.ids != collection.ids:
        raise QueryError("the relevance and the collection are not of the same pictures in the same order")
    if relevance.queries is not None and not len(relevance.queries):
        raise QueryError("no two pictures are relevant to each other: give labels, or another relevance")
    chosen = collection.subset(collection.ids if ids is None else ids)
    place = {id: row for row, id in enumerate(collection.ids)}
    network = load(base)
    module = copy.deepcopy(network.module)
    stem, tail = _halves(base, module, blocks)
    torch.manual_seed(config.seed)
    views = [_maps(chosen, base, view, framing, stem, network, progress) for view in ("", "@mirror")]
    known = [id for id in chosen.ids if all(id in maps for maps in views)]
    among = relevance.subset(np.array([place[id] for id in known], dtype=np.int64))
    maps = torch.stack([torch.stack([one[id] for id in known]) for one in views])  # (2, N, C, H, W)
    del views
    learn, held = split(among, config)
    back, coin = among.subset(held), np.random.default_rng(config.seed + 2)
    parameters = [value.requires_grad_() for value in tail.parameters()]

    def forward(rows: np.ndarray):
        batch = maps[torch.from_numpy(coin.integers(0, 2, len(rows))), torch.from_numpy(rows)]
        return torch.nn.functional.normalize(_pooled(tail(batch.to(network.device))), dim=1)

    def measure() -> float:
        with torch.no_grad():
            made = [_pooled(tail(maps[0][held[at : at + 32]].to(network.device))) for at in range(0, len(held), 32)]
            made = torch.nn.functional.normalize(torch.cat(made), dim=1).cpu().numpy()
        return float(evaluate(made @ made.T, back).mean()["mAP"])

    best, _, history = train(parameters, forward, measure, Batches(among, learn, config), config, progress)
    with torch.no_grad():
        for value, kept in zip(parameters, best, strict=True):
            value.copy_(kept)
    about = {"base": base.name, "name": name, "blocks": blocks, "framing": framing, **vars(config), "history": history}
    return load_fine_tuned(_save(module, about, Path(path).expanduser().with_suffix(".safetensors")))


def load_fine_tuned(path: str | os.PathLike) -> Model:
    """Load a network that `fine_tune` saved.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file.

    Returns
    -------
    Model
        A model that `extract` accepts, equal to the one that `fine_tune` returned.

    Raises
    ------
    StoreError
        If the file is missing, damaged, or not from `fine_tune`.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    try:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads((file.metadata() or {})["amulsearch"])
        base = model_table.TABLE[about["base"]]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path} cannot be read as a fine-tuned network ({error}): run fine_tune again") from None
    source = f"{base.name}, fine-tuned (last blocks: {about['blocks']})"
    return replace(base, name=about["name"], weights=OwnFile(str(path.resolve())), rename=None, source=source)


def training_history(path: str | os.PathLike) -> list[dict]:
    """Read the training history of a network that `fine_tune` saved.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file.

    Returns
    -------
    list of dict
        The state before training (with a `loss` of NaN), then one row per epoch: `loss`, the mean over the batches,
        and `validation mAP`, from 0 to 1.

    Raises
    ------
    StoreError
        If the file is missing, damaged, or not from `fine_tune`.
    """
    from safetensors import safe_open

    with safe_open(str(load_fine_tuned(path).weights.find()), framework="numpy") as file:
        return json.loads(file.metadata()["amulsearch"])["history"]


def _halves(base: Model, module, blocks: int):
    """Split the module before its last blocks; both halves share its weights."""
    from torch.nn import Sequential

    blocks = check_integer("blocks", blocks)
    if hasattr(module, "blocks"):  # EfficientNet of timm
        before, parts, after = [module.conv_stem, module.bn1], list(module.blocks), [module.conv_head, module.bn2]
    else:  # SqueezeNet of torchvision
        before, parts, after = [], list(module.features), []
    if blocks >= len(parts):
        raise QueryError(f"{base.name} has {len(parts)} blocks: train fewer than that, not {blocks}")
    return Sequential(*before, *parts[:-blocks]), Sequential(*parts[-blocks:], *after)


def _maps(collection: Collection, base: Model, view: str, framing: str, stem, network, progress: bool) -> dict:
    """Map each id to the input of the last blocks, (C, H, W), for one view of every picture that can be decoded."""
    import torch

    seen = model_table.get(f"{base.name}{view}")
    found, waiting = {}, []

    def flush() -> None:
        if waiting:
            batch = torch.from_numpy(np.stack([pixels for _, pixels in waiting])).to(network.device)
            with torch.no_grad():
                made = stem(seen.preprocess.normalise(batch)).cpu()
            found.update(zip([id for id, _ in waiting], made, strict=True))
            waiting.clear()

    with tqdm(total=len(collection), desc=f"prepare{view}", unit="picture", delay=2, disable=not progress) as bar:
        for places, inputs in prepared(collection, [seen], framing):
            waiting += [
                (collection.table["id"].iat[place], one[seen.name])
                for place, one in zip(places, inputs, strict=True)
                if not isinstance(one, PictureError)
            ]
            bar.update(len(places))
            if len(waiting) >= network.config.batch:
                flush()
        flush()
    return found


def _pooled(maps):
    return maps.mean((2, 3))


def _save(module, about: dict, path: Path) -> Path:
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, str(temporary), {"amulsearch": json.dumps(about)})
    return path
