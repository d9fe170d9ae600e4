"""The errors that users can meet, and the argument checks that raise them.

Each message says in one sentence what happened, to what, and what to do about it.
"""

import errno
import importlib
import numbers
import os
import shlex
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unicodedata import category


class AmulsearchError(Exception):
    """Base class of all errors that amulsearch raises; the command line prints them in one line and exits with 2."""


class PictureError(AmulsearchError):
    """A picture that cannot be read; the message is the reason listed in `Collection.rejected`."""


class ModelError(AmulsearchError):
    """An unknown model or layer, or weights that are missing, damaged or of the wrong shape."""


class StoreError(AmulsearchError):
    """A store or an index on disk that is missing, damaged, not writable or made of other data than expected."""


class OtherFormatError(StoreError):
    """A store or an index that another version of amulsearch wrote in another format."""


class QueryError(AmulsearchError, ValueError):
    """A query, a parameter or a list of neighbours that cannot be used; also a ValueError."""


class MissingKeyError(QueryError, KeyError):
    """An id, a layer or a name that does not exist; also a KeyError."""

    __str__ = Exception.__str__  # KeyError's own would put the message in quotation marks


class MissingPackageError(AmulsearchError):
    """An optional package that is needed and not installed; the message says how to install it."""


def check_integer(name: str, value: object, least: int = 1) -> int:
    """`value` as an int, if it is an integer of at least `least`; QueryError otherwise. 5.0 counts as an integer."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or value % 1 != 0 or value < least:
        raise QueryError(f"{name} must be an integer of at least {least}, not {value!r}")
    return int(value)


def as_number(value: object) -> float:
    """`value` as a float; NaN, which is in no range, if it is not a number."""
    return float(value) if isinstance(value, numbers.Real) else float("nan")


def check_k(k: object, most: int, what: str = "pictures to choose from", usual: int = 10) -> int:
    """`k` as an int from 1 to `most`; QueryError otherwise. None is `usual`, or as many as there are."""
    k = min(usual, most) if k is None else check_integer("k", k)
    if not most:
        raise QueryError(f"there are no {what}")
    if k > most:
        raise QueryError(f"k={k} is more than the {most} {what}")
    return k


def check_path(path: str | os.PathLike, name: str = "the path") -> Path:
    """The path that a person typed; QueryError if it is none.

    `~` and `~/...` mean the home folder, `~user/...` that of a user unless there is such a folder, `~x.png` a file.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise QueryError(f"{name} must be a string or a path, not {type(path).__name__}") from None
    if not text or "\0" in text:
        raise QueryError(f"{name} {'holds a zero byte' if text else 'is empty'}: give another")
    path = Path(text)
    first, *rest = path.parts or ("",)
    if not first.startswith("~"):
        return path
    if text.startswith("~") and (first == "~" or (rest and not os.path.lexists(first))):
        try:
            return path.expanduser()
        except RuntimeError:
            what = f"there is no user {first[1:]}" if first[1:] else "the home folder is not known"
            raise QueryError(f"{text}: {what}; for a folder named {first} write ./{text}") from None
    return path.absolute()  # so that it stays what it is if it is checked again


def check_output(path: str | os.PathLike, what: str, *, folder: bool = False) -> Path:
    """The path of a file or a folder to write, tried out by a temporary file; QueryError if it cannot be written."""
    path = check_path(path, f"the path of {what}")
    try:
        if path.exists() and path.is_dir() != folder:
            is_a, give = ("a file", "a folder") if folder else ("a folder", "a file name")
            raise QueryError(f"{path} is {is_a}: give {give} for {what}")
        place = next(filter(Path.exists, (path, *path.absolute().parents))) if folder else path.parent
        with tempfile.NamedTemporaryFile(dir=place, prefix="" if folder else f"{path.name}."):
            pass
        if not folder and path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise QueryError(f"{what} cannot be written to {path}: {error.strerror or error}") from None
    return path


def import_optional(name: str, package: str, instead: str = "") -> ModuleType:
    """Import a module; MissingPackageError if the package that provides it is not installed.

    The message says how to install it, and what to use `instead`.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        other = f", or {instead}" if instead else ""
        raise MissingPackageError(f"{name} is not installed: pip install {package}{other}") from None


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: object) -> str:
    """Text in which line breaks and other control characters are shown as escapes; spaces and joiners stay."""
    stays = lambda char: char.isprintable() or category(char) == "Zs" or char in "\u200c\u200d"  # noqa: E731
    return "".join(char if stays(char) else char.encode("unicode_escape").decode() for char in str(text))


def as_argument(text: object) -> str:
    """A text as it is typed in a shell (bash, zsh); what a terminal may not show or copy is written as octal bytes.

    A path that would be taken for an option or a home folder begins with ./.
    """
    text = f"./{text}" if isinstance(text, Path) and str(text)[0] in "-~" else str(text)
    if all(map(_shown, text)):
        return shlex.quote(text)
    escapes = {"'": "\\'", "\\": "\\\\"}
    parts = (
        escapes.get(char, char) if _shown(char) else "".join(f"\\{byte:03o}" for byte in os.fsencode(char))
        for char in text
    )
    return f"$'{''.join(parts)}'"


def _shown(char: str) -> bool:
    """Whether a character can be printed as it is."""
    try:
        return char.isprintable() and bool(char.encode(getattr(sys.stdout, "encoding", None) or "utf-8"))
    except UnicodeEncodeError:
        return False
