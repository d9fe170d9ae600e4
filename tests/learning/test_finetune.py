import numpy as np
import pytest

import amulsearch as am

PARTS = ("animals/birds", "animals/mammals", "food/fruit", "plants/flowers", "animals/fish")


@pytest.fixture(scope="module")
def some(cartoons):
    of = {part: [id for id in cartoons.ids if id.startswith(part + "/")][:10] for part in PARTS}
    return cartoons.subset([id for ids in of.values() for id in ids])


@pytest.fixture(scope="module")
def tuned(some, tmp_path_factory):
    config = am.learning.TrainingConfig(
        learning_rate=1e-3, epochs=3, patience=3, batch_size=32, validation_fraction=0.4, dropout=0
    )
    path = tmp_path_factory.mktemp("tuned") / "weights"
    return am.learning.fine_tune(some, "squeezenet1_1", path, blocks=1, config=config, progress=False)


def test_only_the_last_block_changes(tuned):
    import torch

    before = am.models.load(am.models.get("squeezenet1_1")).module.state_dict()
    after = am.models.load(tuned).module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("features.12.") for name in changed)


def test_it_is_a_network_like_any_other(some, tuned, tmp_path):
    again = am.learning.load_fine_tuned(tuned.weights.path)
    assert again == tuned and again.describe() == tuned.describe() and again.name == "squeezenet1_1-tuned"
    made = am.extract(some, again, "penultimate", progress=False)[again.name, "penultimate"]
    plain = am.extract(some, "squeezenet1_1", "penultimate", progress=False)["squeezenet1_1", "penultimate"]
    assert not np.allclose(made.vectors, plain.vectors, atol=1e-3)
    am.AnnoyIndex.build(made).save(tmp_path / "tuned")
    index = am.AnnoyIndex.open(tmp_path / "tuned", model=again)
    assert index.query(some.open(some.ids[7]), 1)["id"][0] == some.ids[7]


def test_what_is_measured_is_what_extract_gives(some, tuned):
    from amulsearch.learning.finetune import training_history
    from amulsearch.learning.training import split

    history = training_history(tuned.weights.path)
    assert [*history[1]] == ["loss", "validation mAP"] and 2 <= len(history) <= 4
    relevance = am.Relevance.from_labels(some.ids, some.labels)
    held = split(relevance, am.learning.TrainingConfig(validation_fraction=0.4))[1]
    made = am.extract(some.subset([some.ids[row] for row in held]), tuned, "penultimate", progress=False)
    of = made[tuned.name, "penultimate"]
    measured = am.evaluate(of, am.Relevance.from_labels(of.ids, of.labels)).mean()["mAP"]
    assert measured == pytest.approx(max(row["validation mAP"] for row in history), abs=0.01)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("resnet152", {}, "not a bundled network"),
        ("squeezenet1_1", {"blocks": 13}, "train fewer"),
        ("squeezenet1_1", {"name": "alexnet"}, "in the table"),
        ("squeezenet1_1", {"relevance": "none"}, "no two pictures are relevant"),
    ],
)
def test_what_cannot_be(some, tmp_path, model, options, words):
    if "relevance" in options:
        options = {"relevance": am.Relevance.from_labels(some.ids, [None] * len(some))}
    with pytest.raises(am.AmulsearchError, match=words):
        am.learning.fine_tune(some, model, tmp_path / "weights", progress=False, **options)


def test_another_file_is_told(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "none.safetensors"):
        with pytest.raises(am.StoreError, match="run fine_tune again"):
            am.learning.load_fine_tuned(tmp_path / name)
