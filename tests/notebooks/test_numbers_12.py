"""The numbers that notebook 12 and its solutions state, against what its own cells compute."""

import os

import numpy as np
import pytest

import amulsearch as am

NOTEBOOK, SOLUTIONS = "12_fine_tuning", "solutions/12_fine_tuning"
FULL = "AMULSEARCH_FULL" in os.environ
slow = pytest.mark.skipif(not FULL, reason="a minute: AMULSEARCH_FULL=1")
WITHIN = 0.004


@pytest.fixture(scope="module")
def ran(executed):
    return executed(NOTEBOOK, "related.table" if FULL else "change =")


@pytest.fixture(scope="module")
def measured(ran):
    """A function from Features to their measures on the test queries."""
    return lambda features: am.evaluate(features, ran["relevance"], queries=list(ran["test"])).mean()


def test_the_functions_on_what_can_be_computed_by_hand(ran):
    unit = np.eye(3)[[0, 0, 1, 2]] + [[0, 0, 0], [0, 0.1, 0], [0, 0, 0], [0, 0, 0]]
    same = np.equal.outer([0, 0, 1, 1], [0, 0, 1, 1])
    assert ran["mean_ap"](unit, same) == pytest.approx((1 + 1 + 1 / 2 + 1 / 3) / 4, abs=0.2)
    torch = ran["torch"]
    loss = ran["contrastive_loss"](torch.eye(4), torch.from_numpy(same))
    assert float(loss) == pytest.approx(np.log(3))  # all others are equally near
    train, test = (set(ran["labels"][list(ran[side])]) for side in ("taught", "test"))
    assert not train & test and len(test) == 25


def test_the_steps_bring_little(ran, near):
    history = ran["history"]
    near([max(history), history[0]], "best validation mAP, # against # at the start")


def test_it_helps_the_test_queries(ran, measured, near):
    base, pca, head = (measured(ran[name]) for name in ("frozen", "pca", "head"))
    near([base["mAP"], head["mAP"]], "the test queries rises from # to #, and")
    near([base["P@5"], head["P@5"]], "and P@5 from # to #. The test")
    near(pca["P@5"], "without any label, has a P@5 of #,")
    assert pca["mAP"] < base["mAP"]


def test_other_halves_and_what_changed(ran, near):
    gains = [ours.compare(base, "mAP")["difference"] for ours, base in ran["pairs"].values()]
    near([min(gains), max(gains)], "each of the three, from # to #,")
    near((ran["change"] > 0).sum(), "cartoons, # of the test queries improved", within=10)
    near((ran["change"] < 0).sum(), "improved at P@5, # got worse", within=10)


def test_solutions(ran, measured, near):
    start = measured(ran["learn_head"](ran["taught"], ran["same_label"], epochs=0)[0])
    near(start["mAP"], "an mAP of # against", of=SOLUTIONS)
    near(start["P@5"], "and a P@5 of # against", of=SOLUTIONS)
    narrow = measured(ran["learn_head"](ran["taught"], ran["same_label"], width=32)[0])
    near(narrow["P@5"], "with 32 dimensions # against", of=SOLUTIONS, within=0.01)
    plain = measured(am.transforms.PCA.fit(ran["frozen"], 32, whiten=0.5)(ran["frozen"]))
    near(plain["P@5"], "with 32 dimensions ~ against #.", of=SOLUTIONS)
    both = np.hstack([ran["vectors"], am.features.l2_normalize(ran["head"].vectors)])
    near(measured(am.Features(both, ran["frozen"].ids))["mAP"], "in mAP, at #,", of=SOLUTIONS)


@slow
def test_views_overfitting_blocks_and_keywords(ran, measured, near):
    words, blocks = (measured(ran[name]) for name in ("by_words", "taught_blocks"))
    views, any_pairs = (measured(ran["learned"][name]) for name in ("head, views", "start, any pairs"))
    near(views["P@5"], "trained on views has a P@5 of #,", within=0.01)
    near(any_pairs["P@5"], "of any two pictures has # and .263", within=0.01)
    own, other = (ran["rows"][24, "no early stopping"][f"{side} categories"] for side in ("training", "test"))
    near([own, other], "on the training categories, up to #, and worst on the test categories: #,", within=0.02)
    near(blocks["mAP"], "SqueezeNet goes from ~ to #", within=0.01)
    near([words["mAP"], words["P@5"]], "as the folders: an mAP of #, and a P@5 of #.", within=0.01)
