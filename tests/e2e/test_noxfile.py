"""The record that sessions of nox keep of what they installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT

PROBE = """

@nox.session
def probe(session: nox.Session) -> None:
    if session.posargs:
        _install(session, ".")
"""


@pytest.mark.parametrize("flags", [["-R", "-s"], ["-Rs"], ["--no-install", "-s"]])
def test_what_was_not_installed_is_not_taken_for_it_later(flags: list[str], tmp_path: Path) -> None:
    """However that is said to nox, the next session without it has to install."""
    pytest.importorskip("nox")
    version = Path("batchllm", "version.py")
    (tmp_path / "batchllm").mkdir()
    for file in ("pyproject.toml", version):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "noxfile.py").write_text((ROOT / "noxfile.py").read_text("utf-8") + PROBE, "utf-8")
    for words in (["-s", "probe"], [*flags, "probe", "--", "install"]):
        subprocess.run([sys.executable, "-m", "nox", *words], cwd=tmp_path, check=True)
    assert (tmp_path / ".nox" / "probe" / "pyvenv.cfg").exists()
    assert not (tmp_path / ".nox" / "probe" / "installed.txt").exists()
