"""Installs the servers into a folder: ``python -m tests.real.install FOLDER``.

Each gets an environment of its own, since their dependencies are not ours. A server that cannot be
had here is named with the reason, and its tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["install"]

_PACKAGES: Final = {
    "mocklimit": ("mocklimit==0.6.0",),
    "litellm": ("litellm[proxy]==1.106.2",),
    "llmock": ("llmock==0.2.2",),
}
_DEBIAN: Final[dict[str, tuple[str, ...]]] = {
    "nginx": ("nginx",),
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
}
"""Programs that Debian has, and the packages that each needs."""


def install(folder: Path) -> dict[str, str]:
    """Install each server that is not there yet; return why the others could not be had."""
    folder.mkdir(parents=True, exist_ok=True)
    missing: dict[str, str] = {}
    for name, packages in _PACKAGES.items():
        try:
            _install_packages(folder / name, name, packages)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(folder / name, ignore_errors=True)
            missing[name] = _reason(error)
    for name, packages in _DEBIAN.items():
        try:
            _unpack(folder / name, name, packages)
        except (OSError, subprocess.CalledProcessError) as error:
            missing[name] = _reason(error)
    return missing


def _install_packages(place: Path, program: str, packages: Sequence[str]) -> None:
    scripts = place / "bin"
    if (scripts / program).exists():
        return
    venv.create(place, with_pip=True, clear=True)
    _run(scripts / "python", "-m", "pip", "install", "--quiet", *packages)


def _unpack(place: Path, name: str, packages: Sequence[str]) -> None:
    """Have the program at ``usr/sbin`` below *place*; a link there if one is installed already."""
    program = place / "usr" / "sbin" / name
    if program.exists():
        return
    program.parent.mkdir(parents=True, exist_ok=True)
    found = shutil.which(name)
    if found:
        program.symlink_to(found)
        return
    # Unpacked, not installed: that needs no rights and starts no service.
    _run("apt-get", "download", *packages, cwd=program.parent)
    for package in program.parent.glob("*.deb"):
        _run("dpkg", "-x", package, place)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(list(map(str, command)), check=True, cwd=cwd, capture_output=True, text=True)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
        return lines[-1] if lines else str(error)
    return str(error)


def main() -> int:
    """Install into the folder that is named; return 0 even if some servers cannot be had."""
    if len(sys.argv) != 2:
        print("usage: python -m tests.real.install FOLDER", file=sys.stderr)
        return 2
    for name, reason in install(Path(sys.argv[1])).items():
        print(f"{name} cannot be had here, so its tests are skipped: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
