"""The page of `amulsearch compare`: which system to use for a folder, the numbers, and what the systems find."""

from __future__ import annotations

from ..index import query_all
from ..measure import Recommendation, calibrated
from .page import Page
from .plot import systems_chart

QUERIES, COLUMNS, K = 4, 4, 4
"""How many queries the page shows, with how many systems, each with how many neighbours."""


def comparison_page(found: Recommendation) -> Page:
    """Make a page of a recommendation.

    Parameters
    ----------
    found : Recommendation

    Returns
    -------
    Page
    """
    pictures, measure = found.pictures, found.measure
    page = Page(f"Which model for {pictures.folder.name or pictures.folder}?").text(found.advice)
    sampled = "A random sample of " if pictures.part else ""
    page.text(f"{sampled}{len(pictures):,} pictures, {len(found.scores):,} queries.")
    page.heading("All systems").figure(systems_chart(found), f"{measure} of each system, with its 95% interval")
    drawn = "labels" if measure == "mAP" else "edited pictures"
    meaning = (
        "mAP: how well the pictures with the label of the query come before all others. It is low for a vote, which "
        "ranks only the pictures that it lists."
        if measure == "mAP"
        else "MRR: 1 divided by the rank at which an edited copy finds its original, the mean over eight edits."
    )
    page.text(
        f"{meaning} low and high: its 95% interval over {drawn}. first: the fraction of random draws of {drawn} in "
        "which the system is best. agreement: the fraction of the first ten neighbours that another system shares, on "
        "average. ms: the time for a new picture, once the networks are loaded. kB: disk space a picture."
    )
    page.table(found.table)
    page.heading("What they find")
    names = {found.system: found.system} if found.system in found.indexes else {}
    for name in found.table["system"]:  # the best layer of each network
        if name in found.indexes:
            names.setdefault(found.indexes[name].fingerprint["model"], name)
    indexes = {name: calibrated(found.indexes[name]) for name in list(dict.fromkeys(names.values()))[:COLUMNS]}
    for id in pictures.sample(QUERIES):
        page.grid(pictures, id, query_all(indexes, id, min(K, len(pictures) - 1)))
    return page
