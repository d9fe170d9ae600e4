"""What answers a query besides an index: fusions, diffusion, presets, keywords, and the panel that asks them all.

Input: `Features`, indexes, or a store. Output: ranked lists, the probability of each neighbour, and whether a picture
is like the collection at all. `check_store` verifies a store.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "fusion": ["METHODS", "Fusion"],
        "graph": ["NeighbourGraph"],
        "diffusion": ["Diffusion"],
        "presets": ["PRESETS", "SAME_KIND", "SAME_THING", "Preset", "preset"],
        "keywords": ["Keywords"],
        "panel": ["Panel"],
        "stored": [
            *("index_again", "indexed", "is_current", "open_panel", "open_system", "save_index", "save_preset"),
            *("text_towers", "usual_layer"),
        ],
        "platt_scaling": ["calibrate", "calibrated"],
        "relevance": ["Relevance"],
        "novelty": ["NoveltyTest"],
        "duplicates": ["COPY_LAYERS", "VIEWS", "edited_copies", "near_duplicates"],
        "check": ["check_store"],
    },
)
