"""Find the pictures of a folder that mean the same, and see which network, layer and fusion finds them best.

Importing this needs neither torch nor matplotlib; they are imported when a network runs or a figure is drawn.
"""

import importlib

from . import classical, models, transforms
from .adapt import Head
from .agreement import cka, disagreement, overlap, rank_biased_overlap
from .annoy_index import AnnoyIndex
from .check import check
from .collection import Collection
from .comparison import Comparison, compare, contributions
from .concepts import classes, concept, shared_classes
from .duplicates import near_duplicates
from .encoding import embed
from .ensemble import fuse, fuse_all, votes
from .errors import AmulsearchError, ModelError, PictureError, QueryError, StoreError
from .evaluation import Evaluation, evaluate
from .exact_index import ExactIndex
from .explain import HeatMap, class_map, similarity_maps
from .extraction import extract
from .faiss_index import FaissFlatIndex, FaissHNSWIndex, FaissIVFIndex, FaissLSHIndex
from .features import Features, FeatureSet
from .finetune import load_tuned, tune_network
from .hnswlib_index import HnswlibIndex
from .invariance import known_items, mean_reciprocal_rank
from .judgements import Judgements
from .mapping import Map, neighbour_purity
from .nmslib_index import NmslibIndex
from .page import Page
from .pictures import open_image
from .preprocess import fit
from .presets import BEST
from .ray_runner import RayRunner
from .relevance import Relevance
from .report import write_report
from .reranking import KReciprocal, QueryExpansion
from .search import query_all, same_label
from .store import Store
from .tradeoff import enlarge, tradeoff
from .training import Course
from .transforms import PCA, Expansion, average, concatenate
from .tuning import Tuning, tune

__all__ = [
    "HeatMap",
    "Map",
    "near_duplicates",
    "neighbour_purity",
    "class_map",
    "classes",
    "concept",
    "shared_classes",
    "similarity_maps",
    "votes",
    "rank_biased_overlap",
    "overlap",
    "known_items",
    "mean_reciprocal_rank",
    "disagreement",
    "check",
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
    "Page",
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
    "explore",
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
    "write_report",
]


def __getattr__(name: str):
    if name in ("networks", "plot", "sliders"):  # these need torch, matplotlib and ipywidgets
        return importlib.import_module(f".{name}", __name__)
    if name == "explore":
        return importlib.import_module(".explorer", __name__).explore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
