"""Libraries that are there by choice: an index imports its own when it is built or opened."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import AmulsearchError


def library(name: str, package: str) -> ModuleType:
    """A module by its name; AmulsearchError where the package that brings it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise AmulsearchError(f"{name} is not installed: pip install {package}") from None
