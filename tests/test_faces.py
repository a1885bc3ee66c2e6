"""The faces of the packages: small, sorted, complete, and the only way in from another folder."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchllm

ROOT = Path(batchllm.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# What users are told to import from `batchllm` itself, whichever folder it lives in.
FOR_USERS = ("api", "classifiers", "llm_strategies", "middleware", "observers")


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGES = [dotted(path) for path in MODULES if path.name == "__init__.py"]
FOLDERS = [package for package in PACKAGES if package.count(".") == 1]


def in_ruffs_order(name: str) -> tuple[int, str]:
    """Sort as ruff sorts `__all__`: constants, classes, then everything else."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_lists_what_it_offers(package: str) -> None:
    """Every package has an `__all__`: sorted, without doubles, and each name in it is there."""
    face = importlib.import_module(package)
    assert face.__doc__, f"{package} does not say what it is for"
    assert face.__all__ == sorted(set(face.__all__), key=in_ruffs_order)
    missing = [name for name in face.__all__ if not hasattr(face, name)]
    assert not missing, f"{package}.__all__ names what is not there"


@pytest.mark.parametrize("package", FOLDERS)
def test_the_package_passes_on_the_same_object(package: str) -> None:
    """A name that `batchllm` shares with a folder's face means the same object in both."""
    face = importlib.import_module(package)
    shared = set(batchllm.__all__) & set(face.__all__)
    different = [name for name in shared if getattr(batchllm, name) is not getattr(face, name)]
    assert not different


@pytest.mark.parametrize(
    "package", [package for package in FOLDERS if package.rpartition(".")[2] in FOR_USERS]
)
def test_what_users_need_is_in_the_package_itself(package: str) -> None:
    """Everything in the faces made for users is importable from `batchllm`."""
    missing = set(importlib.import_module(package).__all__) - set(batchllm.__all__)
    assert not missing


def imports_of(path: Path) -> Iterator[str]:
    """Yield each module that a file imports, including those for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_other_folders_are_entered_by_their_face(path: Path) -> None:
    """A module imports from another folder only through that folder's `__init__`."""
    own = path.relative_to(ROOT).parts[0]
    around_the_face = [
        module
        for module in imports_of(path)
        if module.startswith("batchllm.") and module.count(".") > 1 and module.split(".")[1] != own
    ]
    assert not around_the_face
