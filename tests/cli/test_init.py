"""``batchllm init``: a file that can be used as it is, and that shows every setting."""

import re
import tomllib
from pathlib import Path

import pytest

from batchllm.cli import main
from batchllm.core import ProcessorConfig, load_config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "batch.toml"
    assert main(["init", str(path)]) == 0
    return path


def test_as_it_is_it_changes_nothing(path: Path) -> None:
    """Everything is commented out."""
    assert tomllib.loads(path.read_text()) == {}
    assert load_config(path) == ProcessorConfig()


def test_every_default_can_be_commented_in(path: Path) -> None:
    """They are valid, and they are the defaults; what is off by default has no value to give."""
    text = re.sub(r"^# (\w+ = (?!none).*|\[\w+\])$", r"\1", path.read_text(), flags=re.M)
    shown = tomllib.loads(text)
    assert {"max_workers", "timeout_per_item", "retry", "rate_limit", "fail_fast"} <= shown.keys()
    changed = tmp_config(path, text)
    assert changed.retry == ProcessorConfig().retry
    assert changed.timeout_per_item == ProcessorConfig().timeout_per_item


def tmp_config(path: Path, text: str) -> ProcessorConfig:
    path.write_text(text)
    return load_config(path)


def test_each_setting_is_explained(path: Path) -> None:
    """By what the class says of it."""
    lines = path.read_text().splitlines()
    at = lines.index("# park_after = 900.0")
    assert "parked" in "".join(lines[at - 3 : at])


def test_no_file_is_written_over(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may have been changed."""
    path.write_text("max_workers = 3")
    assert main(["init", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "max_workers = 3"


def test_only_toml_has_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that is what is written."""
    assert main(["init", str(tmp_path / "batch.json")]) == 2
    assert "give a name that ends in .toml" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "none" / "batch.toml")]) == 2
    assert "cannot be written: No such file" in capsys.readouterr().err
