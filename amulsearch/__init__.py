"""Find the pictures of a folder that mean the same, and see which network, layer and fusion finds them best.

Importing this needs neither torch nor matplotlib; they are imported when a network runs or a figure is drawn.
"""

import importlib

from . import classical, models, transforms
from .adapt import Head
from .agreement import cka, disagreement, overlap, rank_biased_overlap
from .annoy_index import AnnoyIndex
from .collection import Collection
from .comparison import Comparison, compare, contributions
from .encoding import embed
from .ensemble import fuse, fuse_all
from .errors import AmulsearchError, ModelError, PictureError, QueryError, StoreError
from .evaluation import Evaluation, evaluate
from .exact_index import ExactIndex
from .extraction import extract
from .faiss_index import FaissFlatIndex, FaissHNSWIndex, FaissIVFIndex, FaissLSHIndex
from .features import Features, FeatureSet
from .finetune import load_tuned, tune_network
from .hnswlib_index import HnswlibIndex
from .invariance import known_items, mean_reciprocal_rank
from .judgements import Judgements
from .nmslib_index import NmslibIndex
from .pictures import open_image
from .preprocess import fit
from .presets import BEST
from .ray_runner import RayRunner
from .relevance import Relevance
from .reranking import KReciprocal, QueryExpansion
from .search import query_all, same_label
from .store import Store
from .tradeoff import enlarge, tradeoff
from .training import Course
from .transforms import PCA, Expansion, average, concatenate
from .tuning import Tuning, tune

__all__ = [
    "rank_biased_overlap",
    "overlap",
    "known_items",
    "mean_reciprocal_rank",
    "disagreement",
    "contributions",
    "compare",
    "cka",
    "classical",
    "Comparison",
    "Course",
    "Head",
    "BEST",
    "PCA",
    "Expansion",
    "KReciprocal",
    "QueryExpansion",
    "average",
    "concatenate",
    "transforms",
    "AmulsearchError",
    "AnnoyIndex",
    "Collection",
    "Evaluation",
    "ExactIndex",
    "FaissFlatIndex",
    "FaissHNSWIndex",
    "FaissIVFIndex",
    "FaissLSHIndex",
    "FeatureSet",
    "Features",
    "HnswlibIndex",
    "Judgements",
    "ModelError",
    "NmslibIndex",
    "PictureError",
    "QueryError",
    "RayRunner",
    "Relevance",
    "Store",
    "StoreError",
    "Tuning",
    "embed",
    "load_tuned",
    "tune_network",
    "evaluate",
    "extract",
    "fit",
    "fuse",
    "fuse_all",
    "models",
    "networks",
    "open_image",
    "plot",
    "query_all",
    "same_label",
    "sliders",
    "enlarge",
    "tradeoff",
    "tune",
]


def __getattr__(name: str):
    if name in ("networks", "plot", "sliders"):  # these need torch, matplotlib and ipywidgets
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
