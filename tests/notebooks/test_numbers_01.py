"""The numbers that notebook 01 and its solutions state about the bundled cartoons."""

NOTEBOOK = "01_your_collection"


def test_what_is_in_it(bundled_features, near, stated):
    table = bundled_features.collection.table
    counts = table["label"].value_counts()
    near((table["format"] == "WEBP").sum(), "bundled cartoons are # WebP files", within=0)
    near(table[["width", "height"]].max().max(), "at most # pixels on the longer side", within=0)
    near(len(counts), "bundled cartoons have # labels", within=0)
    assert stated(NOTEBOOK, "the largest label, `people`, has # pictures") == counts["people"] == counts.max()
    near([counts.min(), counts.median()], "the smallest has #, and half of the labels have at most #.", within=0)


def test_nothing_is_left_out(bundled_features):
    assert bundled_features.collection.rejected.empty and not bundled_features.collection.passed_over


def test_duplicates(bundled_features, near, stated):
    copies = bundled_features.collection.duplicates()
    labels = copies.groupby("group")["label"].nunique()
    near(len(copies), "# files form ~ pairs", within=0)
    assert stated(NOTEBOOK, "files form # pairs") == len(labels) == len(copies) / 2
    near((labels > 1).sum(), "In # of the pairs, the two files lie in different folders", within=0)


def test_solutions(bundled_features, near, stated):
    table = bundled_features.collection.table
    solutions = f"solutions/{NOTEBOOK}"
    shape = table["width"] / table["height"]
    assert abs(stated(solutions, "heart with the arrow is # times as wide") - shape.max()) < 0.05
    assert abs(stated(solutions, "yoga pose is # times as high") - 1 / shape.min()) < 0.05
    top = table["id"].str.split("/").str[0].value_counts()
    near(len(top), "have # top-level folders", of=solutions, within=0)
    assert stated(solutions, "the smallest, `electronics`, has # pictures") == top["electronics"] == top.min()
