"""The public names of the packages: sorted, complete, and the only way in from another folder."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchllm

ROOT = Path(batchllm.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "names.md"

# What is imported from `batchllm` by the samples that came before the library.
FIXED = (
    "BaseMiddleware BaseObserver BatchResult ErrorClassifier ErrorInfo GeminiCachedModel "
    "GeminiCachedStrategy GeminiResponse GeminiStrategy LLMCallStrategy LLMWorkItem "
    "MetricsObserver ParallelBatchProcessor ProcessingEvent ProcessorConfig PydanticAIStrategy "
    "RetryState TokenUsage WorkItemResult"
)


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGES = [dotted(path) for path in MODULES if path.name == "__init__.py"]
FOLDERS = [package for package in PACKAGES if package.count(".") == 1]


def in_ruffs_order(name: str) -> tuple[int, str]:
    """Sort as ruff sorts `__all__`: constants, classes, then everything else."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_what_it_offers(package: str) -> None:
    """Every package has an `__all__`: sorted, without doubles, and each name in it is there."""
    module = importlib.import_module(package)
    assert module.__doc__, f"{package} does not say what it is for"
    assert module.__all__ == sorted(set(module.__all__), key=in_ruffs_order)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing, f"{package}.__all__ names what is not there"


@pytest.mark.parametrize("package", FOLDERS)
def test_the_package_passes_on_the_same_object(package: str) -> None:
    """A name that `batchllm` shares with a folder means the same object in both."""
    module = importlib.import_module(package)
    shared = set(batchllm.__all__) & set(module.__all__)
    different = [name for name in shared if getattr(batchllm, name) is not getattr(module, name)]
    assert not different


def branches(package: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Return what an ``__init__`` has for type checkers, and what it has when the program runs."""
    source = importlib.util.find_spec(package).origin  # type: ignore[union-attr]
    tree = ast.parse(Path(source or "").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return block.body, block.orelse


def homes(package: str) -> dict[str, str]:
    """Return each public name with the module from which type checkers are shown it."""
    return {
        alias.name: node.module or ""
        for node in branches(package)[0]
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


ON_DEMAND = [name for name in PACKAGES if "__getattr__" in vars(importlib.import_module(name))]


@pytest.mark.parametrize("package", ON_DEMAND)
def test_type_checkers_see_the_names_that_programs_import(package: str) -> None:
    """A package that imports on demand has the same names in its list, its table and its imports.

    No name is that of a file, which Python's import would put in its place.
    """
    module, found = importlib.import_module(package), homes(package)
    (assigned,) = branches(package)[1]
    assert isinstance(assigned, ast.Assign)
    assert isinstance(assigned.value, ast.Call)
    table = ast.literal_eval(assigned.value.args[1])
    assert {name: file for file, names in table.items() for name in names.split()} == found
    assert sorted(found, key=in_ruffs_order) == module.__all__
    for name, file in found.items():
        assert getattr(module, name) is getattr(importlib.import_module(file), name)
    files = {file.rpartition(".")[2] for file in table if file.startswith(f"{package}.")}
    assert files & set(found) <= {"structured"}  # which has a test of its own


def test_the_names_are_few_and_fixed_ones_stay() -> None:
    """About eighty; a name that nobody imports any more goes back to its folder."""
    assert set(FIXED.split()) <= set(batchllm.__all__)
    assert len(batchllm.__all__) <= 90


def test_each_name_is_documented() -> None:
    """By a docstring, and by one row of the page of names."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows, key=in_ruffs_order) == batchllm.__all__
    undocumented = [name for name in batchllm.__all__ if not getattr(batchllm, name).__doc__]
    assert undocumented == ["SKIP"]  # a member of an enumeration, explained where it is returned


def run(code: str) -> str:
    """Run *code* in a fresh interpreter, and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return done.stdout.strip()


HEAVY = "{'anyio', 'cattrs', 'cyclopts', 'httpx', 'rich', 'trio'} & set(sys.modules)"


@pytest.mark.parametrize(
    "start",
    [
        "import batchllm; batchllm.__version__",
        "from batchllm.cli import main; main(['--version'])",
    ],
)
def test_nothing_is_imported_before_it_is_needed(start: str) -> None:
    """The import of the package and its version load no library that takes long."""
    assert run(f"import sys; {start}; print({HEAVY})").endswith("set()")


def test_the_version_is_the_one_that_is_installed() -> None:
    """Written once, in the package."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", batchllm.__version__)
    assert run("from batchllm.cli import main; main(['--version'])") == batchllm.__version__


def test_structured_is_the_function_however_the_folder_of_that_name_is_imported() -> None:
    """Python's import puts a folder into its package under its name."""
    code = "import batchllm.structured; from batchllm import structured; print(structured.__name__)"
    assert run(code) == "structured"
    assert run(f"from batchllm import llm; {code}") == "structured"


def test_what_is_not_there_is_refused_by_name() -> None:
    """Names are looked up only if they are public; folders can be had as attributes."""
    with pytest.raises(AttributeError, match="module 'batchllm' has no attribute 'run_bach'"):
        batchllm.run_bach  # type: ignore[attr-defined]  # noqa: B018
    assert run("import batchllm; print(batchllm.core.__name__)") == "batchllm.core"
    assert {"run_batch", "__version__"} <= set(dir(batchllm))


def imports_of(path: Path) -> Iterator[str]:
    """Yield each module that a file imports, including those for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", [None, *FOLDERS])
def test_other_folders_are_entered_by_their_init(folder: str | None) -> None:
    """A module imports from another folder only through that folder's `__init__`."""
    inside = ROOT / folder.partition(".")[2] if folder else None
    modules = list(inside.rglob("*.py") if inside else ROOT.glob("*.py"))
    assert modules
    around = [
        f"{dotted(path)} imports {module}"
        for path in modules
        for module in imports_of(path)
        if module.startswith("batchllm.")
        and module.count(".") > 1
        and module.split(".")[1] != path.relative_to(ROOT).parts[0]
    ]
    assert not around


def test_every_module_lies_in_a_folder_that_is_looked_at() -> None:
    folders = {package.partition(".")[2] for package in FOLDERS}
    assert {path.relative_to(ROOT).parts[0] for path in MODULES if path.parent != ROOT} <= folders
