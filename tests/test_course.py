"""Exercises: right answers, wrong ones, and answers of another kind."""

import numpy as np
import pandas as pd
import pytest

import amulsearch as am

TABLE = pd.DataFrame({"P@1": [0.5, np.nan], "name": ["a", "b"]}, index=["x", "y"])
SERIES = pd.Series({"x": 1.0, "y": 2.0})


def said(capsys, answer, right, **options):
    assert am.course.check(answer, lambda: right, hint="Count again.", **options) is None
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "right", "within"),
    [
        (3, 3, 0),
        (0.1 + 0.2, 0.3, 0),
        (0.612, 0.61, 0.003),
        (np.float32(0.61), 0.609, 0.002),
        (float("nan"), np.nan, 0),
        (np.array(4), 4, 0),
        ("owl", "owl", 0),
        (True, np.True_, 0),
        (None, None, 0),
        (["b", "a", "a"], {"a", "b"}, 0),
        (pd.Index(["a"]), {"a"}, 0),
        ((1, 2.001), [1, 2], 0.01),
        (np.arange(4).reshape(2, 2), np.arange(4.0).reshape(2, 2), 0),
        (pd.Series(["a", "b"]), ["a", "b"], 0),
        ([0.5, float("nan")], np.array([0.5, np.nan]), 0),
        (SERIES[::-1] + 0.01, SERIES, 0.02),
        (SERIES.astype(int), SERIES, 0),
        (SERIES.set_axis(pd.Index(["x", "y"], dtype=object)), SERIES, 0),
        (pd.Series([5.0, 2], index=[2.0, 1.0]), pd.Series({1: 2, 2: 5}, name="right"), 0),
        (TABLE[["name", "P@1"]].iloc[::-1], TABLE, 0),
        (TABLE, am.measure.Table(TABLE), 0),
        (7, lambda answer: answer % 7 == 0, 0),
    ],
)
def test_right(capsys, answer, right, within):
    assert said(capsys, answer, right, within=within) == "Right.\n"


@pytest.mark.parametrize(
    ("answer", "right", "within"),
    [
        (4, 3, 0),
        (0.62, 0.61, 0.003),
        (float("nan"), 0.61, 1),
        (0.61, np.nan, 1),
        ("0.61", 0.61, 0.01),
        (None, 0.61, 0.01),
        ([0.61], 0.61, 0.01),
        (SERIES, 0.61, 0.01),
        ("Owl", "owl", 0),
        (3, "owl", 0),
        (["owl"], "owl", 0),
        (1, True, 0),
        (["a"], {"a", "b"}, 0),
        ("ab", {"a", "b"}, 0),
        (3, {"a", "b"}, 0),
        ([1, 2], [2, 1], 0),
        ([1], [1, 2], 0),
        (1, [1, 2], 0),
        ({1, 2}, [1, 2], 0),
        ("ab", ["a", "b"], 0),
        (np.ones((2, 3)), np.ones((3, 2)), 0),
        (np.ones(3), np.ones((3, 1)), 0),
        (SERIES + 0.1, SERIES, 0.02),
        (SERIES.rename({"y": "z"}), SERIES, 0),
        (SERIES.head(1), SERIES, 0),
        ([1.0, 2.0], SERIES, 0),
        (TABLE.assign(name="c"), TABLE, 0),
        (TABLE.rename({"x": "z"}), TABLE, 0),
        (TABLE.drop(columns="name"), TABLE, 0),
        (TABLE["P@1"], TABLE, 0),
        ("table", TABLE, 0),
        (8, lambda answer: answer % 7 == 0, 0),
        ("eight", lambda answer: answer / 7 == 1, 0),
        (print, 3, 0),
    ],
)
def test_wrong_or_of_another_kind(capsys, answer, right, within):
    line = said(capsys, answer, right, within=within)
    assert line.startswith("Not yet: Count again.") and line.count("\n") == 1


def test_an_answer_that_cannot_be_compared_is_told_why(capsys):
    line = said(capsys, "eight", lambda answer: answer / 7 == 1)
    assert line.startswith("Not yet: Count again. (Your answer could not be compared: TypeError: ")
    assert said(capsys, 8, lambda answer: answer / 7 == 1) == "Not yet: Count again.\n"


def test_what_is_given_reaches_the_solution_and_its_errors_are_not_hidden():
    am.course.check(6, lambda count, by: count // by, 13, 2, hint="")
    with pytest.raises(ZeroDivisionError):
        am.course.check(6, lambda count, by: count // by, 13, 0, hint="")


def test_without_an_answer_nothing_is_computed(capsys):
    am.course.check(..., lambda: pytest.fail("computed"), hint="Count again.")
    assert capsys.readouterr().out == "Not answered yet.\n"


def test_redrawn_pictures_keep_the_shape_and_lose_the_colour(cartoons, tmp_path):
    drawn = am.course.redrawn(cartoons, tmp_path, count=3)
    assert drawn.labels == ["000"] * 3 + ["001"] * 3 + ["002"] * 3
    for place, id in enumerate(cartoons.sample(3)):
        original, outline, silhouette = (
            np.asarray(drawn.open(one), int) for one in drawn.ids[3 * place : 3 * place + 3]
        )
        np.testing.assert_array_equal(original, np.asarray(cartoons.open(id)))
        assert original.shape == outline.shape == silhouette.shape
        assert set(np.unique(silhouette)) <= {30, 255} and np.ptp(outline, axis=2).max() == 0
        dark = np.asarray(cartoons.open(id).convert("L"), int) < 240
        np.testing.assert_array_equal(dark, silhouette[..., 0] == 30)
        assert outline[2:-2, 2:-2][dark[2:-2, 2:-2] ^ dark[1:-3, 2:-2]].mean() < outline.mean()  # lines at the edges
