"""What is learned from pictures: heads on frozen features, fine-tuned networks, vocabularies of SIFT words.

In: features or pictures, and what is relevant to what. Out: a transform, or a model that `extract` takes.
Training imports torch when it starts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "heads": ["Head"],
        "finetune": ["fine_tune", "load_fine_tuned", "training_history"],
        "training": ["TrainingConfig"],
        "vocabulary": ["learn_sift", "load_vocabulary", "save_vocabulary"],
    },
)
