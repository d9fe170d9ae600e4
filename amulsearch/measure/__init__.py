"""Which system is better: fusion, relevance, judgements, evaluation, comparison, agreement.

Input: neighbours or features, and which pictures are relevant to which. Output: fused neighbours, and measures with
confidence intervals. Nothing here draws figures or trains networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "relevance": ["Relevance", "same_label"],
        "tables": ["Table", "chance_level", "differences", "neighbour_purity", "precision"],
        "evaluation": ["MEASURES", "Evaluation", "evaluate", "holm"],
        "recommendation": ["LEAST", "Recommendation", "recommend"],
        "comparison": ["Comparison", "compare"],
        "judgements": ["Judgements"],
        "agreement": ["overlap"],
    },
)
