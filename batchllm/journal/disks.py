"""The file of a journal: made for its owner only, and whether its disk is in the network."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["create_private", "is_network_disk", "mounted_as", "size_on_disk"]

_MODE: Final = 0o600
_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb2", "smb3", "smbfs", "virtiofs", "webdav"}
    | {"fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.davfs", "fuse.ceph"}
)
"""File systems without shared memory between machines, which a write-ahead log needs."""


def create_private(path: Path) -> bool:
    """Make an empty file that only its owner reads; leave one that is there as it is.

    SQLite gives its log the mode of the main file, so this has to be done before it opens it.

    Returns:
        Whether it was made.

    Raises:
        OSError: It cannot be made.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    try:
        os.close(os.open(path, flags, _MODE))
    except FileExistsError:
        return False
    _flush_folder(path.parent)
    return True


def _flush_folder(folder: Path) -> None:
    """Make the name of a new file survive a loss of power, where folders can be flushed."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and some disks flush none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def size_on_disk(path: Path) -> int:
    """Return the bytes that a journal takes, those of its log included."""
    size = 0
    for tail in ("", "-wal", "-journal"):
        with contextlib.suppress(OSError):  # it may go at any time, when the run ends
            size += os.stat(f"{path}{tail}").st_size
    return size


def is_network_disk(path: Path) -> bool:
    """Return whether *path* lies on a disk in the network, as far as the system says it."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return False  # not Linux: nothing is known
    return mounted_as(str(path.resolve()), mounts) in _NETWORK


def mounted_as(path: str, mounts: str) -> str:
    """Find the type of the file system that holds *path*.

    Args:
        path: Absolute, without links.
        mounts: The text of ``/proc/self/mountinfo``; later lines cover earlier ones.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = _unescape(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            longest, kind = len(point), right.split(" ")[0]
    return kind


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
