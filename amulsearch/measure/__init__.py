"""Which system is better: measures, judgements, evaluation, comparison, recommendation.

Input: systems or neighbours, and which pictures are relevant to which. Output: measures with
confidence intervals. Nothing here draws figures or trains networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "neighbour_measures": ["chance_level", "overlap", "precision_at_k", "same_label"],
        "tables": ["Table", "differences"],
        "ranking_measures": ["MEASURES"],
        "evaluation": ["Evaluation", "evaluate"],
        "recommendation": ["LEAST", "Recommendation", "recommend"],
        "comparison": ["Comparison", "compare"],
        "judgements": ["Judgements"],
        "jury": ["Jury"],
    },
)
