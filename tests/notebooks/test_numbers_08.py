"""The numbers that lesson 8 and its solutions state, against computations of their own."""

import os

import numpy as np
import pytest
from plain import cosines, measures

NOTEBOOK, SOLUTIONS = "08_fine_tuning", "solutions/08_fine_tuning"
FULL = "AMULSEARCH_FULL" in os.environ
slow = pytest.mark.skipif(not FULL, reason="half a minute: AMULSEARCH_FULL=1")
WRONG = {1: "anchor = [0.5, -0.5]", 2: "on_test = 0.259", 3: 'starts["best"] = starts["epoch 0"]'}


@pytest.fixture(scope="module")
def ran(executed):
    return executed(NOTEBOOK, "deeper.table" if FULL else "lists =")


@pytest.fixture(scope="module")
def measured(ran):
    """A function from vectors to P@1 and mAP of the test queries."""
    labels, queries = ran["labels"].to_numpy(), ran["vectors"].index.get_indexer(ran["test"])

    def measure(vectors):
        table = measures(cosines(vectors), labels).iloc[queries].mean()
        return table["P@1"], table["mAP"]

    return measure


def test_one_step_by_hand(ran, near):
    anchor, positive, negative = np.array([[0, 0], [3, 0], [0, 2]]) - 0.5 * np.array([[-1, 1], [1, 0], [0, -1]])
    distances = [np.linalg.norm(anchor - positive), np.linalg.norm(anchor - negative)]
    near(distances, "the positive is at a distance of # and the negative at #", within=0.005)
    near(distances[0] - distances[1] + 1, "so the loss is #.", within=0.005)
    assert np.allclose(ran["after_step"].numpy(), [anchor, positive, negative])


def test_places_are_learned_by_heart(ran, near):
    shares = {}
    for stage, vectors in ran["stages"].items():
        for side, some in ran["sides"].items():
            cosine = cosines(vectors[some])
            positive = (ran["apart"][some][:, some] <= ran["within"]) & ~np.eye(some.sum(), dtype=bool)
            queries = positive.any(axis=1)
            shares[stage, side] = positive[np.arange(some.sum()), cosine.argmax(axis=1)][queries].mean()
    near([shares[stage, "trained on"] for stage in ran["stages"]], "P@1 rises from # to #.", within=0.01)
    others = [shares[stage, "other pictures"] for stage in ran["stages"]]
    near(others, "pictures, it falls from # to # (few", within=0.1)
    near([some.sum() for some in ran["sides"].values()], "each of the two sets has about # pictures", within=2)


def test_the_split_and_the_loss(ran):
    sides = [set(ran["labels"][list(ran[side])]) for side in ("train", "validation", "test")]
    assert not sides[0] & sides[1] and not (sides[0] | sides[1]) & sides[2]
    assert len(sides[1]) == 5  # "The validation set has five folders"
    torch = ran["torch"]
    same = torch.tensor(np.equal.outer([0, 0, 1, 1], [0, 0, 1, 1]))
    assert float(ran["contrastive_loss"](torch.eye(4), same)) == pytest.approx(np.log(3))  # all others equally near


def test_the_epochs(ran, near):
    training, validation = (ran["history"][side] for side in ("training", "validation"))
    near([training.iloc[0], training.iloc[-1]], "training mAP climbs from # to #.", within=0.01)
    best = validation.argmax()
    near([best, validation[best]], "mAP peaks at epoch #, at #,", within=1)
    near([validation[best], validation[0]], "at epoch ~, at #, and then falls below its start, #.")
    sizes = [len(ran["validation"]), len(ran["train"])]
    near(sizes, "searches among # pictures of five folders, training among #.)", within=0)
    assert validation.iloc[-1] < validation[0]


def test_the_test_folders(ran, measured, near):
    found = {name: measured(system.vectors) for name, system in ran["systems"].items()}
    near([found["frozen"][1], found["head"][1]], "mAP of the test queries from # to #, with")
    near([found["centred"][1], found["whitened"][1]], "centring alone gives #, and half whitening #, both")
    near([found["head"][0], found["frozen"][0]], "than the frozen network: # against #.", within=0.006)
    near(found["head, last epoch"][1], "has # here: nothing of it carries over")
    assert found["head, last epoch"][1] < found["frozen"][1]
    row = ran["compared"].table.set_index("system").loc["head"]
    near([row["wins"], row["losses"]], "with # wins and # losses: a", within=25)
    told = "other half only from # to #. Subtracting a mean raises it to #, half whitening to #"
    near([found[name][1] for name in ("frozen", "head", "centred", "whitened")], told)


def test_the_tiger(ran):
    labels, won = ran["labels"], ran["won"]
    tigers = {name: (labels[table["id"]] == labels[won]).sum() for name, table in ran["lists"].items()}
    assert tigers == {"frozen": 2, "head": 3, "centred": 3, "whitened": 4}
    assert "big_cats" in won


def test_solutions(ran, measured, near):
    table = ran["whiten"](ran["vectors"], ran["test"])
    both = [measured(vectors)[1] for vectors in (table.to_numpy(), ran["frozen"].vectors)]
    near(both, "The mAP is #, below that of the frozen vectors, #.", of=SOLUTIONS)
    history = ran["train_head"](ran["whiten"](ran["vectors"], ran["train"]))[2]
    near(history["validation"].iloc[[0, -1]], "it starts at # and falls slowly to #,", of=SOLUTIONS)
    assert history["validation"].max() < history["validation"][0] + 0.001
    frozen = ran["history"]["validation"]
    near([frozen[0], frozen.max()], "the validation mAP rises from # to #.", of=SOLUTIONS)
    near(history["training"].iloc[[0, -1]], "pictures rises from # to #:", of=SOLUTIONS, within=0.01)


@slow
def test_the_ensemble_and_the_network(ran, near):
    table = {name: result.mean() for name, result in ran["results"].items()}
    both = [table[f"CombSUM, {kind}"]["P@1"] for kind in ("head", "frozen")]
    near(both, "heads has a P@1 of #, of the frozen networks #:", within=0.006)
    near(table["CombSUM, whitened"]["P@1"], "without labels gives a P@1 of #,")
    pairs = {kind: first.compare(second, "P@1") for kind, (first, second) in ran["pairs"].items()}
    near([pairs["head"][name] for name in ("wins", "losses", "p")], ": # wins, # losses, a p-value of #.", within=8)
    assert pairs["head"]["p"] > 0.1
    near([pairs["whitened"]["wins"], pairs["whitened"]["losses"]], "with # wins and # losses, and three", within=3)
    gains = [table[f"CombSUM, {kind}"]["mAP"] - table["CombSUM, frozen"]["mAP"] for kind in ("head", "whitened")]
    near(gains[0], "The mAP gains #.")
    assert gains[1] / gains[0] == pytest.approx(3, abs=0.7)
    rows = ran["deeper"].table.set_index("system")
    near(rows.loc[["SqueezeNet", "tuned"], "mAP"], "pictures raise the mAP from # to #.")
    assert len(ran["some"]) == 258 and rows.at["tuned", "p"] < 0.05
    near(100 * (rows.at["SqueezeNet", "P@1"] - rows.at["tuned", "P@1"]), "At P@1, # points are lost.", within=0.3)
