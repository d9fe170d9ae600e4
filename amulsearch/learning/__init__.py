"""Learning from pictures: heads on frozen features, fine-tuned networks, and vocabularies of SIFT words.

Input: features or pictures, and which pictures are relevant to each other. Output: a transform, or a model that
`extract` accepts. torch is imported when training starts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "heads": ["Head"],
        "finetune": ["fine_tune", "load_fine_tuned", "training_history"],
        "training": ["TrainingConfig", "split_labels"],
        "vocabulary": ["learn_sift", "load_vocabulary", "save_vocabulary"],
    },
)
