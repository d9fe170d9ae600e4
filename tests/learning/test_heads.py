import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.learning.training import Batches, loss_of, split

QUICK = am.learning.TrainingConfig(epochs=15, learning_rate=1e-3, batch_size=64, patience=15)


@pytest.fixture(scope="module")
def noisy():
    """300 vectors in twelve clusters: the first 6 dimensions hold the cluster, the other 26 stronger noise."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(12), 25)
    places = rng.normal(size=(12, 6))
    vectors = np.concatenate([places[kinds] + 0.3 * rng.normal(size=(300, 6)), 2 * rng.normal(size=(300, 26))], axis=1)
    ids = [f"picture {row}" for row in range(300)]
    return am.Features(vectors.astype(np.float32), ids, [f"kind {kind}" for kind in kinds])


@pytest.fixture(scope="module")
def relevance(noisy):
    return am.Relevance.from_labels(noisy.ids, noisy.labels)


def halves(noisy):
    teach = [id for id, label in zip(noisy.ids, noisy.labels, strict=True) if int(label.split()[1]) < 8]
    return teach, [id for id in noisy.ids if id not in set(teach)]


@pytest.mark.parametrize("loss", ["contrastive", "triplet"])
def test_it_helps_kinds_that_taught_nothing(noisy, relevance, loss):
    teach, asked = halves(noisy)
    config = am.learning.TrainingConfig(loss=loss, epochs=40, learning_rate=3e-3, batch_size=64, patience=40)
    head = am.learning.Head.fit(noisy, relevance, ids=teach, width=32, whiten=0, config=config, progress=False)
    before, after = (am.evaluate(made, relevance, queries=asked) for made in (noisy, head(noisy)))
    assert after.mean()["mAP"] > 1.5 * before.mean()["mAP"]
    assert repr(head) == "Head(head 32 by labels, for vectors of width 32)"
    assert after.compare(before)["p"] < 0.001


def test_views_teach_what_stays_the_same(noisy, relevance):
    rng = np.random.default_rng(1)
    views = []
    for _ in range(2):  # the first six dimensions stay, the others change
        vectors = np.concatenate([noisy.vectors[:, :6], 2 * rng.normal(size=(300, 26))], axis=1).astype(np.float32)
        views.append(am.Features(vectors, noisy.ids, noisy.labels))
    config = am.learning.TrainingConfig(epochs=30, learning_rate=3e-3, batch_size=128, patience=30)
    head = am.learning.Head.from_views(noisy, views, width=32, whiten=0, config=config, progress=False)
    before, after = (am.evaluate(made, relevance).mean()["mAP"] for made in (noisy, head(noisy)))
    assert after > 1.3 * before
    assert str(head) == "head 32 by 3 views"


def test_the_same_seed_gives_the_same_head(noisy, relevance):
    heads = [am.learning.Head.fit(noisy, relevance, width=8, config=QUICK, progress=False) for _ in range(2)]
    assert heads[0].digest == heads[1].digest and np.array_equal(heads[0](noisy).vectors, heads[1](noisy).vectors)


def test_pictures_that_do_not_teach_change_nothing(noisy, relevance):
    teach, asked = halves(noisy)
    changed = noisy.vectors.copy()
    changed[np.isin(noisy.ids, asked)] = 7
    other = am.Features(changed, noisy.ids, noisy.labels)
    heads = [
        am.learning.Head.fit(one, relevance, ids=teach, width=8, config=QUICK, progress=False) for one in (noisy, other)
    ]
    assert np.array_equal(heads[0].arrays["axes"], heads[1].arrays["axes"])


def test_what_is_held_back_are_whole_labels_and_the_best_epoch_is_kept(noisy, relevance):
    learn, held = split(relevance, am.learning.TrainingConfig())
    labels = np.array(noisy.labels)
    assert not set(labels[learn]) & set(labels[held]) and len(learn) + len(held) == 300
    head = am.learning.Head.fit(
        noisy, relevance, width=8, config=am.learning.TrainingConfig(learning_rate=0.5, patience=3), progress=False
    )  # the training diverges
    measured = [row["validation mAP"] for row in head.history]
    assert head.settings["stopped"] == int(np.argmax(measured)) and len(measured) <= head.settings["stopped"] + 4
    back = am.Relevance.from_labels([noisy.ids[row] for row in held], labels[held].tolist())
    vectors = am.Features(head(noisy).vectors[held], back.ids, back.labels)
    assert am.evaluate(vectors, back).mean()["mAP"] == pytest.approx(max(measured), abs=1e-4)


def test_without_patience_the_last_epoch_is_kept(noisy, relevance):
    config = am.learning.TrainingConfig(learning_rate=0.5, epochs=6, patience=None)
    head = am.learning.Head.fit(noisy, relevance, width=8, config=config, progress=False)
    assert head.settings["stopped"] == 6 and len(head.history) == 7


def test_it_starts_where_alike_pictures_differ_least(noisy, relevance):
    """Of two dimensions of equal variance, the one that varies less among relevant pictures has more weight."""
    rng = np.random.default_rng(2)
    kinds = np.repeat(np.arange(40), 5)
    vectors = np.stack([np.ones(200) * 9, rng.normal(size=40)[kinds], rng.normal(size=200)], axis=1)
    features = am.Features(vectors, [str(row) for row in range(200)])
    alike = am.Relevance.from_labels(features.ids, [str(kind) for kind in kinds])
    config = am.learning.TrainingConfig(epochs=1, learning_rate=1e-12)
    head = am.learning.Head.fit(features, alike, width=3, whiten=1, shrink=1e-3, config=config, progress=False)
    weights = np.linalg.norm(head.arrays["axes"], axis=0)  # of each dimension
    assert weights[1] > 5 * weights[2]


def test_batches_pair_what_is_alike(noisy, relevance):
    rows = np.arange(0, 300, 2)
    for batch, alike in Batches(relevance, rows, QUICK):
        half = len(batch) // 2
        assert set(batch) <= set(rows) and (batch[:half] != batch[half:]).all()
        labels = np.array(noisy.labels)[batch]
        assert (labels[:half] == labels[half:]).all()
        assert np.array_equal(alike, (labels[:, None] == labels) & ~np.eye(len(batch), dtype=bool))


def test_the_losses_by_hand():
    import torch

    vectors = torch.tensor([[1.0, 0], [0, 1], [0.8, 0.6], [0.6, 0.8]])
    alike = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]], dtype=bool)
    triplet = loss_of(vectors, alike, am.learning.TrainingConfig(loss="triplet", margin=0.3)).item()
    assert triplet == pytest.approx(0.1)  # relevant .8, hardest negative .6: .6 - .8 + .3
    cosines = np.array([[0, 0.8, 0.6], [0, 0.8, 0.6], [0.8, 0.6, 0.96], [0.8, 0.6, 0.96]])  # of each with the others
    logits = cosines / 0.5
    expected = -np.mean(np.log(np.exp([1.6, 1.6, 1.6, 1.6]) / np.exp(logits).sum(axis=1)))
    contrast = loss_of(vectors, alike, am.learning.TrainingConfig(temperature=0.5)).item()
    assert contrast == pytest.approx(expected, abs=1e-5)


def test_neighbours_in_time_teach(noisy):
    seconds = np.array([int(label.split()[1]) * 100.0 for label in noisy.labels])
    near = am.Relevance.from_distance(noisy.ids, seconds, within=1)
    head = am.learning.Head.fit(
        noisy, near, width=8, config=am.learning.TrainingConfig(loss="triplet", epochs=3), progress=False
    )
    assert str(head) == "head 8 by a relation"


def test_a_head_goes_through_an_index_and_asks_with_new_pictures(bundled_features, cartoons, tmp_path):
    name = "squeezenet1_1"
    features = bundled_features[name, "penultimate"]
    relevance = am.Relevance.from_labels(features.ids, features.labels)
    head = am.learning.Head.fit(
        features, relevance, width=64, config=am.learning.TrainingConfig(epochs=2), progress=False
    )
    am.ExactIndex.build(head(features)).save(tmp_path / "head")
    index = am.ExactIndex.open(tmp_path / "head")
    found = index.query(cartoons.open(cartoons.ids[40]), 1)
    assert found["distance"][0] < 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f, r: am.learning.Head.fit(f, r, ids=["none"]), "no picture 'none'"),
        (lambda f, r: am.learning.Head.fit(f, r, ids=f.ids[::25], progress=False), "too few pictures"),
        (
            lambda f, r: am.learning.Head.fit(f, am.Relevance.from_labels(["a", "b"], ["x", "x"])),
            "not of the same pictures",
        ),
        (
            lambda f, r: am.learning.Head.fit(f, r, ids=[*f.ids[:20], *f.ids[30:250:25]], progress=False),
            "no two pictures of the validation set",
        ),
        (lambda f, r: am.learning.Head.from_views(f, []), "at least one view"),
        (lambda f, r: am.learning.TrainingConfig(loss="hinge"), "unknown loss"),
        (lambda f, r: am.learning.TrainingConfig(validation_fraction=0), "validation_fraction must lie between"),
        (lambda f, r: am.learning.TrainingConfig(epochs=0), "epochs"),
    ],
)
def test_what_cannot_be(noisy, relevance, call, words):
    with pytest.raises(am.QueryError, match=words):
        call(noisy, relevance)


def test_keywords_teach(cartoons, bundled_features, openclipart):
    table = pd.read_csv(openclipart.parent / "openclipart.csv", keep_default_na=False)
    words = dict(zip(table["id"], table["keywords"], strict=True))
    relevance = am.Relevance.from_keywords(cartoons.ids, words, at_least=2, most=0.1)
    features = bundled_features["squeezenet1_1", "penultimate"]
    config = am.learning.TrainingConfig(epochs=1)
    head = am.learning.Head.fit(features, relevance, ids=cartoons.ids[:600], width=32, config=config, progress=False)
    assert head(features).vectors.shape == (len(cartoons), 32) and len(head.history) == 2


def test_no_label_is_on_both_sides_of_a_split():
    ids = [f"{row}" for row in range(23)]
    labels = [f"kind {row % 7}" for row in range(21)] + ["alone", None]
    relevance = am.Relevance.from_labels(ids, labels)
    train, test = am.learning.split_labels(relevance, seed=3)
    assert sorted(train + test, key=int) == ids[:21] and train == sorted(train, key=int)
    kinds = [{int(id) % 7 for id in side} for side in (train, test)]
    assert len(kinds[0]) == 3 and len(kinds[1]) == 4 and not kinds[0] & kinds[1]
    fewer, more = am.learning.split_labels(relevance, 1, seed=3)
    assert len(fewer) == 3 and set(fewer) < set(train) and len(more) == 18
    assert am.learning.split_labels(relevance, seed=4) != (train, test)
    with pytest.raises(am.QueryError, match="k=7 is more than the 6 labels that leave one for testing"):
        am.learning.split_labels(relevance, 7)
    with pytest.raises(am.QueryError, match="0 labels have two pictures or more, too few to divide"):
        am.learning.split_labels(am.Relevance.from_labels(["a", "b"], ["x", "y"]))
