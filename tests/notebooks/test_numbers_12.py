"""The numbers that notebook 12 and its solutions state, against what its own cells compute."""

import os

import numpy as np
import pytest

import amulsearch as am

NOTEBOOK, SOLUTIONS = "12_fine_tuning", "solutions/12_fine_tuning"
FULL = "AMULSEARCH_FULL" in os.environ
slow = pytest.mark.skipif(not FULL, reason="a minute: AMULSEARCH_FULL=1")
ABOUT = {"abs": 0.004}


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


def test_the_steps_bring_little(ran, stated):
    history = ran["history"]
    assert stated(NOTEBOOK, r"best validation mAP, (\.\d+) against") == pytest.approx(max(history), **ABOUT)
    assert stated(NOTEBOOK, r"against (\.\d+) at the start") == pytest.approx(history[0], **ABOUT)


def test_it_helps_the_test_queries(ran, measured, stated):
    base, pca, head = (measured(ran[name]) for name in ("frozen", "pca", "head"))
    assert stated(NOTEBOOK, r"the test queries rises from (\.\d+) to") == pytest.approx(base["mAP"], **ABOUT)
    assert stated(NOTEBOOK, r"the test queries rises from \.\d+ to (\.\d+), and") == pytest.approx(head["mAP"], **ABOUT)
    assert stated(NOTEBOOK, r"and P@5 from (\.\d+) to \.\d+\. The test") == pytest.approx(base["P@5"], **ABOUT)
    assert stated(NOTEBOOK, r"and P@5 from \.\d+ to (\.\d+)\. The test") == pytest.approx(head["P@5"], **ABOUT)
    assert stated(NOTEBOOK, r"without any label, has a P@5 of (\.\d+),") == pytest.approx(pca["P@5"], **ABOUT)
    assert pca["mAP"] < base["mAP"]


def test_other_halves_and_what_changed(ran, stated):
    gains = [ours.compare(base, "mAP")["difference"] for ours, base in ran["pairs"].values()]
    assert stated(NOTEBOOK, r"each of the three, from (\.\d+) to") == pytest.approx(min(gains), **ABOUT)
    assert stated(NOTEBOOK, r"each of the three, from \.\d+ to (\.\d+),") == pytest.approx(max(gains), **ABOUT)
    assert stated(NOTEBOOK, r"cartoons, (\d+) of the test queries improved") == pytest.approx(
        (ran["change"] > 0).sum(), abs=10
    )
    assert stated(NOTEBOOK, r"improved at P@5, (\d+) got worse") == pytest.approx((ran["change"] < 0).sum(), abs=10)


def test_solutions(ran, measured, stated):
    start = measured(ran["learn_head"](ran["taught"], ran["same_label"], epochs=0)[0])
    assert stated(SOLUTIONS, r"an mAP of (\.\d+) against") == pytest.approx(start["mAP"], **ABOUT)
    assert stated(SOLUTIONS, r"and a P@5 of (\.\d+) against") == pytest.approx(start["P@5"], **ABOUT)
    narrow = measured(ran["learn_head"](ran["taught"], ran["same_label"], width=32)[0])
    assert stated(SOLUTIONS, r"with 32 dimensions (\.\d+) against") == pytest.approx(narrow["P@5"], abs=0.01)
    plain = measured(am.transforms.PCA.fit(ran["frozen"], 32, whiten=0.5)(ran["frozen"]))
    assert stated(SOLUTIONS, r"with 32 dimensions \.\d+ against (\.\d+)\.") == pytest.approx(plain["P@5"], **ABOUT)
    both = np.hstack([ran["vectors"], am.features.l2_normalize(ran["head"].vectors)])
    assert stated(SOLUTIONS, r"in mAP, at (\.\d+),") == pytest.approx(
        measured(am.Features(both, ran["frozen"].ids))["mAP"], **ABOUT
    )


@slow
def test_views_overfitting_blocks_and_keywords(ran, measured, stated):
    words, blocks = (measured(ran[name]) for name in ("by_words", "taught_blocks"))
    views, any_pairs = (measured(ran["learned"][name]) for name in ("head, views", "start, any pairs"))
    assert stated(NOTEBOOK, r"trained on views has a P@5 of (\.\d+),") == pytest.approx(views["P@5"], abs=0.01)
    assert stated(NOTEBOOK, r"of any two pictures has (\.\d+) and \.263") == pytest.approx(any_pairs["P@5"], abs=0.01)
    own, other = (ran["rows"][24, "no early stopping"][f"{side} categories"] for side in ("training", "test"))
    assert stated(NOTEBOOK, r"on the training categories, up to (\.\d+),") == pytest.approx(own, abs=0.02)
    assert stated(NOTEBOOK, r"on the test categories: (\.\d+),") == pytest.approx(other, abs=0.02)
    assert stated(NOTEBOOK, r"SqueezeNet goes from \.\d+ to (\.\d+)") == pytest.approx(blocks["mAP"], abs=0.01)
    assert stated(NOTEBOOK, r"as the folders: an mAP of (\.\d+),") == pytest.approx(words["mAP"], abs=0.01)
    assert stated(NOTEBOOK, r"as the folders: an mAP of \.\d+, and a P@5 of (\.\d+)\.") == pytest.approx(
        words["P@5"], abs=0.01
    )
