"""From pictures to vectors: extraction, engines, runners, transforms, fingerprints.

Input: a `Collection` and models. Output: `Features`, vectors (N, D) with their ids and the fingerprint of what made
them. `embed` does the same for new pictures. torch is imported only when a network runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["transforms"],
    submod_attrs={
        "features": ["FeatureSet", "Features"],
        "extraction": ["extract"],
        "encoding": ["Words", "embed", "encode", "opening_of", "pixels_of", "text"],
        "ray_runner": ["RayRunner"],
        "transforms": [
            *("PCA", "combination", "concatenate", "open_fitted", "same_pictures", "source_layers", "write_fitted"),
        ],
        "vectors": ["as_vectors", "check_vectors", "l2_normalize", "metric_vectors"],
        "exact_search": ["distances_to", "nearest", "others", "within"],
    },
)
