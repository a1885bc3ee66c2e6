"""The file of a journal, and who drives it."""

import os
from pathlib import Path

import pytest
from attrs import evolve

from batchllm.journal.disks import create_private, is_network_disk, mounted_as
from batchllm.journal.owner import SILENT_AFTER, _born, holder_in_words, is_alive, this_process

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /mnt/team rw - nfs4 server:/team rw
24 23 0:6 / /mnt/team/local\\040disk rw - ext4 /dev/sdb1 rw
25 22 0:7 / /mnt/teams rw shared:3 - fuse.sshfs host: rw
odd line
"""


def test_a_journal_is_its_owners_alone(tmp_path: Path) -> None:
    """With any mask; a file that is there keeps its mode."""
    before = os.umask(0)
    try:
        assert create_private(tmp_path / "new.db")
    finally:
        os.umask(before)
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
    (tmp_path / "new.db").chmod(0o640)
    assert not create_private(tmp_path / "new.db")
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o640


def test_no_file_is_made_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    create_private(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/run.db", "ext4"),
        ("/mnt/team/run.db", "nfs4"),
        ("/mnt/team", "nfs4"),
        ("/mnt/team/local disk/run.db", "ext4"),
        ("/mnt/teams/run.db", "fuse.sshfs"),
        ("/mnt/teamwork/run.db", "ext4"),
    ],
)
def test_the_disk_of_a_path_is_the_innermost(path: str, kind: str) -> None:
    assert mounted_as(path, MOUNTS) == kind


def test_a_folder_for_tests_is_on_no_network_disk(tmp_path: Path) -> None:
    assert not is_network_disk(tmp_path / "run.db")
    assert mounted_as("/x", "") == ""


HERE = this_process(1_000.0)


def test_this_process_lives_as_long_as_its_other_batch_does() -> None:
    """One whose last write failed cannot write that it has ended."""
    assert is_alive(HERE, HERE, 1_000.0)
    assert not is_alive(HERE, HERE, 1_000.0 + SILENT_AFTER)
    assert "open in this process already" in holder_in_words(HERE, HERE, 1_000.0)


@pytest.mark.skipif(not HERE.boot, reason="the machine says no boot id")
def test_a_process_of_this_machine_is_known_by_its_birth() -> None:
    """A number that was given to another process since is not taken for the driver, and one that
    is suspended is."""
    parent = evolve(HERE, pid=os.getppid(), born=_born(os.getppid()), beat=-1e9)
    assert is_alive(parent, HERE, 1_000.0)
    assert not is_alive(evolve(HERE, born="1"), HERE, 1_000.0)
    assert not is_alive(evolve(HERE, pid=2**30), HERE, 1_000.0)
    other = evolve(HERE, pid=HERE.pid + 1)
    assert f"process {HERE.pid + 1} on this machine" in holder_in_words(other, HERE, 1_000.0)


@pytest.mark.parametrize(
    ("elsewhere", "beat", "alive"),
    [
        ({"host": "other"}, 1_000.0, True),
        ({"host": "other"}, 1_001.0 - SILENT_AFTER, True),
        ({"host": "other"}, 1_000.0 - SILENT_AFTER, False),
        ({"host": "other"}, 9_000.0, True),  # one of the two clocks goes wrong
        ({"boot": "before"}, 1_000.0 - SILENT_AFTER, False),
    ],
)
def test_a_process_elsewhere_is_known_by_its_signs_of_life(
    elsewhere: dict[str, str], beat: float, alive: bool
) -> None:
    other = evolve(HERE, beat=beat, **elsewhere)
    assert is_alive(other, HERE, 1_000.0) == alive
    words = holder_in_words(evolve(other, host="other"), HERE, 1_000.0)
    assert "on other writes it (last sign of life" in words


def test_without_a_boot_id_a_process_that_is_gone_is_gone() -> None:
    """As on macOS: no such process, so no wait for its silence."""
    here = evolve(HERE, boot="")
    if os.name == "posix":
        assert not is_alive(evolve(here, pid=2**22 + 1), here, 1_000.0)
    assert is_alive(here, here, 1_000.0)
    assert not is_alive(here, here, 1_000.0 + SILENT_AFTER)
