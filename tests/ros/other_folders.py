"""Helper modules of the tests in other folders, for tests that start nodes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]


def load_helper(folder: str, name: str) -> ModuleType:
    """A module of `tests/<folder>`, under a name that no other module has."""
    path = TESTS / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
