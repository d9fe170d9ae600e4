"""Names and numbers as the captions of figures and pages show them."""

from pathlib import PurePosixPath
from unicodedata import east_asian_width

from ..errors import one_line


def short_name(id: str) -> str:
    """The file name of a picture without its extension, on one line, shortened in the middle to 18 characters."""
    return _shortened(PurePosixPath(id).stem)


def subject(id: str, label: str | None) -> str:
    """What a caption says of a picture: the last folder of its label; its name if it has none."""
    return _shortened(PurePosixPath(label).name.replace("_", " ")) if isinstance(label, str) else short_name(id)


def _shortened(text: str) -> str:
    name = one_line(text)
    most = room_for(name, 18)
    tail = most * 2 // 5
    return name if len(name) <= most else f"{name[: most - 1 - tail]}…{name[-tail:]}"


def room_for(text: str, most: int) -> int:
    """How many of its characters fit where `most` Latin ones do: half as many if some are as wide as Chinese ones."""
    return most // 2 if any(east_asian_width(char) in "WF" for char in text) else most


def wrapped(name: str) -> str:
    """Break a title of more than 20 characters into two lines, near its middle, if it has a place to break."""
    breaks = [place for place, char in enumerate(name) if char in " _-/" and 0 < place < len(name) - 1]
    if len(name) <= 20 or not breaks:
        return name
    middle = min(breaks, key=lambda place: abs(place - len(name) / 2))
    keep = name[middle] != " "
    return f"{name[: middle + keep]}\n{name[middle + 1 :]}"


def number(value: float) -> str:
    """Format a distance or a score with two decimals, a small one with three, a whole score without."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def neighbour_caption(row) -> str:
    """Rank, label or name, distance or score, and probability if there is one, of a row of a table of neighbours."""
    value = number(row.distance) if hasattr(row, "distance") else f"score {number(row.score)}"
    value += f" · {row.probability:.0%}" if hasattr(row, "probability") else ""
    return f"{row.rank}  {subject(row.id, row.label)}\n{value}"
