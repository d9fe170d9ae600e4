"""The jury: unbiased estimates, bets that hold, verdicts on planted differences, and a state that can be taken up."""

import numpy as np
import pytest

import amulsearch as am
from amulsearch.errors import QueryError
from amulsearch.measure import Jury, polling
from amulsearch.measure.polling import ALPHA, Poll, Pool

ANSWERS = {(1, 0): "left", (0, 1): "right", (1, 1): "both", (0, 0): "neither"}


def planted(qualities, count=60, seed=0):
    """Lists (S, count, 10) of systems that find pictures of the query's kind more or less often, and the kinds."""
    rng = np.random.default_rng(seed)
    kinds, lists = np.arange(count) % 4, []
    for quality in qualities:
        rows = []
        for query in range(count):
            others = np.setdiff1d(np.arange(count), query)
            weight = np.where(kinds[others] == kinds[query], quality, (1 - quality) / 3)
            rows.append(rng.choice(others, 10, replace=False, p=weight / weight.sum()))
        lists.append(rows)
    return np.array(lists), kinds


def asked(lists, kinds, seeds, questions, wrong=0.0):
    """Polls after some questions, answered by kinds."""
    pool = Pool(lists, np.arange(len(kinds)), len(kinds))
    relevance = (kinds[pool.query] == kinds[pool.row]).astype(float)
    polls, rng = [], np.random.default_rng(0)
    for seed in seeds:
        poll = Poll(pool, seed)
        for _ in range(questions):
            duel = poll.draw()
            poll.answer(duel, np.abs(relevance[duel.items] - (rng.random(2) < wrong)))
        polls.append(poll)
    return pool, relevance, polls


def test_the_estimate_of_differences_is_unbiased_although_the_questions_follow_the_answers(monkeypatch):
    monkeypatch.setattr(polling, "KNOWN", 0)
    lists, kinds = planted([0.7, 0.5, 0.3])
    lists[2, :30] = lists[1, :30]  # two that answer alike in part
    pool, _, polls = asked(lists, kinds, range(250), 6)
    truth = (kinds[lists[:, :, :5]] == kinds[:, None]).mean(axis=(1, 2))
    found = np.array([poll.unbiased - poll.unbiased[0] for poll in polls])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert error[1] < 0.02  # or the test would tell nothing
    assert np.all(np.abs(found.mean(axis=0) - (truth - truth[0])) <= 3.3 * error + 1e-12)
    assert np.allclose(pool.means((kinds[pool.query] == kinds[pool.row]).astype(float)), truth)


def test_each_item_is_drawn_as_often_as_it_is_expected(monkeypatch):
    monkeypatch.setattr(polling, "KNOWN", 0)
    lists, _ = planted([0.7, 0.5, 0.3], count=12)
    poll = Poll(Pool(lists, np.arange(12), 12))
    seen, expected = np.zeros(len(poll.pool.row)), {}
    for seed in range(4000):
        poll.seed = seed  # the probabilities stay, the draw changes
        duel = poll.draw()
        seen[duel.items] += 1
        expected |= dict(zip(duel.items.tolist(), duel.expected, strict=True))
    items = list(expected)
    values = np.array([expected[item] for item in items])
    assert values.sum() == pytest.approx(2)  # two items a question
    assert np.all(np.abs(seen[items] / 4000 - values) < 4.5 * np.sqrt(values / 4000))


@pytest.mark.parametrize("wrong", [0.0, 0.15])
def test_the_best_system_is_hardly_ever_said_to_be_worse(wrong):
    lists, kinds = planted([0.5, 0.5, 0.5])
    _, relevance, polls = asked(lists, kinds, range(40), 40, wrong)
    best = polls[0].pool.means(relevance).argmax()
    mistakes = np.mean([poll.worse[best] for poll in polls])
    assert mistakes <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / len(polls))


def test_a_planted_difference_is_found_and_systems_that_answer_alike_are_not_told_apart():
    lists, kinds = planted([0.9, 0.15])
    _, _, polls = asked(lists, kinds, range(10), 60, 0.05)
    assert sum(poll.worse[1] for poll in polls) >= 9 and not any(poll.worse[0] for poll in polls)
    assert Poll(Pool(lists[[0, 0]], np.arange(60), 60)).draw() is None


@pytest.fixture
def panel():
    """Three systems of 160 pictures, in pairs that are drawn alike, of eight kinds; and the kinds."""
    rng = np.random.default_rng(0)
    pairs = np.arange(160) // 2
    vectors = np.hstack([3 * np.eye(8)[pairs % 8], rng.standard_normal((80, 16))[pairs]])
    systems = {
        name: am.Features(vectors + noise * rng.standard_normal(vectors.shape), [f"{row}.png" for row in range(160)])
        for name, noise in (("strong", 0.3), ("weak", 0.6), ("none", 2.0))
    }
    return am.Panel(systems), {f"{row}.png": pair % 8 for row, pair in enumerate(pairs.tolist())}


def answer(jury, kinds, most=1000):
    for _ in range(most):
        if (question := jury.question) is None:
            break
        same = [int(kinds[picture] == kinds[question.query]) for picture in (question.left, question.right)]
        jury.answer(ANSWERS[tuple(same)])


def test_a_jury_finds_the_best_system_and_can_be_left_and_taken_up(panel, tmp_path):
    panel, kinds = panel
    jury = Jury(panel, tmp_path / "judged.csv")
    answer(jury, kinds, 11)
    assert jury.verdict is None and jury.count >= 11
    again = Jury(panel, tmp_path / "judged.csv")
    assert again.question == jury.question and again.table.equals(jury.table)
    answer(again, kinds)
    assert again.question is None and again.meant == "of a kind" and again.verdict.startswith("Use strong.")
    whole = Jury(panel, tmp_path / "other.csv")
    answer(whole, kinds)
    assert whole.table.equals(again.table)
    judged = again.judgements.table
    assert all(row.relevance == (kinds[row.query] == kinds[row.id]) for row in judged.itertuples())
    with pytest.raises(QueryError, match="done"):
        again.answer("left")


def test_an_answer_can_be_withdrawn(panel, tmp_path):
    panel, _ = panel
    jury = Jury(panel, tmp_path / "judged.csv")
    question = jury.question
    jury.answer("both")
    assert jury.judgements.get(question.query, question.left) == 1 and jury.question != question
    jury.undo()
    assert jury.question == question and jury.count == 0 and len(jury.judgements) == 0
    jury.undo()
    jury.answer("right")
    relevance = [jury.judgements.get(question.query, picture) for picture in (question.left, question.right)]
    assert relevance == [0, 1]


def test_the_question_that_the_person_means_is_known_soon(panel, tmp_path):
    """Pictures of a kind are many, the same thing is one: only one other picture is relevant to each."""
    panel, kinds = panel
    twins = {id: int(id.partition(".")[0]) // 2 for id in panel.ids}
    for relevant, meant, most in ((kinds, "of a kind", 5), (twins, "the same thing", 20)):
        jury = Jury(panel, tmp_path / f"{meant}.csv")
        answer(jury, relevant, most)
        assert jury.meant == meant


def test_the_costs_of_each_system_are_said(panel, cartoons, tmp_path):
    table = Jury(panel[0], tmp_path / "judged.csv").costs(cartoons)
    assert table["kB"].to_dict() == dict.fromkeys(("strong", "weak", "none"), 0.096)  # 24 numbers of 4 bytes
    assert (table["ms"] == 0).all()  # no network has to run


def test_what_cannot_be_asked_is_said_in_a_sentence(panel, tmp_path):
    panel, _ = panel
    with pytest.raises(QueryError, match="at least two systems"):
        Jury(am.Panel({"one": panel["strong"]}), tmp_path / "judged.csv")
    with pytest.raises(QueryError, match="left, right, both or neither"):
        Jury(panel, tmp_path / "judged.csv").answer("up")
    same = Jury(am.Panel({"one": panel["weak"], "other": panel["weak"]}), tmp_path / "judged.csv")
    assert same.question is None and "same answers" in same.verdict


def test_systems_that_answer_alike_share_the_first_place(tmp_path):
    rng = np.random.default_rng(0)
    vectors, ids = rng.standard_normal((7, 4)), list("abcdefg")
    other = am.Features(vectors @ np.diag([1, 1, 1, 0.2]), ids)
    jury = Jury(am.Panel({"one": am.Features(vectors, ids), "other": other}), tmp_path / "judged.csv", most=5)
    while jury.question:
        jury.answer("neither")
    assert jury.table["best"].tolist() == pytest.approx([0.5, 0.5], abs=0.3) and jury.table["unbiased"].isna().all()
