"""Reads that fail for a moment are tried again."""

import errno
import os

import pytest

from hyperclip_jax.data.records import storage
from hyperclip_jax.data.records.tars import Member


@pytest.fixture
def faltering(tmp_path, monkeypatch):
  """A file whose first reads fail with an error; how often, is settable."""
  path = tmp_path / "a.tar"
  path.write_bytes(bytes(range(100)))
  state = {"errno": errno.EIO, "times": 0, "tries": 0}
  pread = os.pread

  def failing(fd, size, offset):
    state["tries"] += 1
    if state["tries"] <= state["times"]:
      raise OSError(state["errno"], os.strerror(state["errno"]))
    return pread(fd, size, offset)

  monkeypatch.setattr(os, "pread", failing)
  monkeypatch.setattr(storage, "WAITS", (0.001, 0.002))
  return str(path), state


def test_a_passing_error_is_over_after_another_try(faltering, caplog):
  path, state = faltering
  state["times"] = 2
  assert Member(path, 10, 3).read() == bytes([10, 11, 12])
  assert state["tries"] == 3
  assert caplog.text.count("retrying") == 2
  assert f"{path}: Input/output error at offset 10" in caplog.text


def test_an_error_that_stays_is_the_records_own(faltering):
  path, state = faltering
  state["times"] = 99
  with pytest.raises(OSError, match="Input/output error"):
    Member(path, 10, 3).read()
  assert state["tries"] == 3


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR])
def test_what_will_not_pass_is_not_tried_again(number, faltering):
  path, state = faltering
  state.update(times=99, errno=number)
  with pytest.raises(OSError, match=os.strerror(number)):
    Member(path, 10, 3).read()
  assert state["tries"] == 1


def test_a_missing_file_is_told_at_once(tmp_path, caplog):
  with pytest.raises(FileNotFoundError):
    storage.read(str(tmp_path / "none"), 0, 1)
  assert not caplog.records


def test_no_file_is_left_open(faltering):
  path, state = faltering
  before = len(os.listdir("/proc/self/fd"))
  state["times"] = 99
  with pytest.raises(OSError, match="Input"):
    storage.read(path, 0, 1)
  assert len(os.listdir("/proc/self/fd")) == before


def test_a_read_that_comes_in_parts_is_whole(faltering, monkeypatch):
  path, _ = faltering
  pread = os.pread
  monkeypatch.setattr(
    os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset)
  )
  assert storage.read(path, 10, 20) == bytes(range(10, 30))
  assert storage.read(path, 90, 20) == bytes(range(90, 100))
  assert storage.read(path, 200, 20) == b""


def test_what_the_process_lacks_is_told_from_what_is_wrong_with_a_file():
  for number, advice in ((errno.EMFILE, "ulimit -n"), (errno.ENOMEM, "memory")):
    with pytest.raises(OSError, match=advice) as caught:
      storage.raise_if_exhausted(OSError(number, os.strerror(number), "a.tar"))
    assert (caught.value.errno, caught.value.filename) == (number, "a.tar")
  storage.raise_if_exhausted(OSError(errno.EIO, "broken"))
  storage.raise_if_exhausted(ValueError("bad"))
