"""Networks with a text tower beside the image tower, of open_clip: pictures and words become vectors of one space.

The configuration file of the weights decides architecture and preprocessing. torch and open_clip are imported inside
the functions.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

from ..errors import ModelError, first_line, import_optional
from .architectures import import_torchvision
from .model import Model
from .network_table import CLIP
from .preprocess import Preprocess
from .weights import HuggingFace, weights_folder

CONFIG = "open_clip_config.json"
PREFIX = "open_clip/"


def tower_record(repository: str) -> Model:
    """Make the record of the image tower of a repository; its small configuration file is downloaded if missing."""
    weights = HuggingFace(repository, "open_clip_model.safetensors", CONFIG)
    try:
        config = json.loads(weights.fetch(CONFIG).read_text(encoding="utf-8"))
        vision, width = config["model_cfg"]["vision_cfg"], config["model_cfg"]["embed_dim"]
        preprocess = _preprocess(vision["image_size"], config.get("preprocess_cfg", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the file {CONFIG} of {repository} is not one of open_clip ({error!r})") from None
    return Model(
        f"{PREFIX}{repository}",
        partial(_build, weights),
        weights,
        preprocess,
        width,
        classes=0,
        feature_map=_last(vision),
        rename=_under_clip,
        fixed_size=True,
    )


def _last(vision: dict) -> str | None:
    """The module that outputs the last feature map or tokens, of open_clip's own towers or of a transformer of timm."""
    if name := vision.get("timm_model_name"):
        return "clip.visual.trunk.norm" if name.startswith("vit_") else None
    return "clip.visual.layer4" if isinstance(vision.get("layers"), list) else "clip.visual.transformer"


def _preprocess(size, config: dict) -> Preprocess:
    sides = [size, size] if isinstance(size, int) else list(size)
    if sides[0] != sides[1]:
        raise ValueError("its pictures are not square")
    mean, std = config.get("mean", CLIP[0]), config.get("std", CLIP[1])
    interpolation = config.get("interpolation", "bicubic")
    return Preprocess.scaled(sides[0], mean, std, interpolation=interpolation, crop_pct=1.0)


def _under_clip(state: dict, target: dict) -> dict:
    return {f"clip.{name}": value for name, value in state.items()}


@contextmanager
def _open_clip(repository: str) -> Iterator[ModuleType]:
    """The module open_clip, silent: its messages would set up logging for the process. What it raises, in a line."""
    import_torchvision()
    open_clip = import_optional("open_clip", "'amulsearch[text]'")
    nowhere = logging.NullHandler()
    logging.getLogger().addHandler(nowhere)
    logging.disable()
    try:
        yield open_clip
    except Exception as error:  # of the constructor of an architecture, of transformers, of the hub's client
        raise ModelError(f"open_clip cannot load {repository}: {first_line(error)}") from None
    finally:
        logging.disable(logging.NOTSET)
        logging.getLogger().removeHandler(nowhere)


def _build(weights: HuggingFace):
    """Build both towers with random weights, as a module whose output is the vector of a picture."""
    import torch

    folder = weights.fetch(CONFIG).parent
    with _open_clip(weights.repository) as open_clip:
        clip = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)

    class Towers(torch.nn.Module):
        """The image tower as a network, and the text tower beside it."""

        def __init__(self):
            super().__init__()
            self.clip = clip
            trunk = getattr(clip.visual, "trunk", clip.visual)
            class_token = int(hasattr(trunk, "class_embedding"))
            self.num_prefix_tokens = getattr(trunk, "num_prefix_tokens", class_token)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.clip.encode_image(pictures)

        def words(self, texts: list[str]) -> torch.Tensor:
            """The vectors (B, D) of texts."""
            with _open_clip(weights.repository) as open_clip:
                tokenize = _tokenizer(open_clip, folder / CONFIG)
            tokens = tokenize(texts)
            most = tokens.shape[1]
            whole = tokenize(texts, 2 * most)  # the end of a text that is read whole is padding
            for text, rest in zip(texts, whole[:, most:], strict=True):
                if (rest != rest[-1]).any():
                    what = f"the words {text[:40]!r} ... are longer than the {most} tokens of {weights.repository}"
                    warnings.warn(f"{what}: the rest of them has no effect, use fewer words", stacklevel=2)
            return self.clip.encode_text(tokens.to(next(self.parameters()).device))

    return Towers()


def _tokenizer(open_clip: ModuleType, path: Path):
    """What open_clip takes for a configuration file; SimpleTokenizer is part of it, others are files of the hub."""
    config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    more = {"context_length": config.get("context_length", 77), **config.get("tokenizer_kwargs", {})}
    name, mode = config.get("hf_tokenizer_name"), config.get("tokenizer_mode")
    if not name:
        return open_clip.SimpleTokenizer(**more)
    return open_clip.tokenizer.HFTokenizer(name, cache_dir=weights_folder(), tokenizer_mode=mode, **more)
