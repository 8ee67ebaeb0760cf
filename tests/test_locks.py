"""One process at a time in a folder."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from proxymix.errors import StageError
from proxymix.locks import locked


def test_a_second_process_is_told_which_one_works_in_the_folder_and_nothing_is_left_behind(tmp_path):
    code = f"from pathlib import Path\nfrom proxymix.locks import locked\nwith locked(Path({str(tmp_path)!r})): pass"
    with locked(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "StageError" in second.stderr and str(tmp_path) in second.stderr and str(os.getpid()) in second.stderr
    assert not list(tmp_path.iterdir())
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_lock_is_released_by_the_end_of_its_process_however_it_ends(tmp_path):
    code = f"""
import os
from pathlib import Path
from proxymix.locks import locked
with locked(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with locked(tmp_path), pytest.raises(StageError, match=str(os.getpid())), locked(tmp_path):
        pass


def test_a_lock_that_is_a_link_does_not_touch_what_it_leads_to(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(OSError), locked(tmp_path / "study"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_note_and_the_work_goes_on(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert str(tmp_path) in capsys.readouterr().err
