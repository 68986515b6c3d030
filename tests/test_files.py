"""Files are whole, or as they were; names of others do no harm."""

import errno
import os
import pathlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax import files
from hyperclip_jax.files import write_whole


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
  path = tmp_path / "a.json"
  write_whole(path, "old\n")
  assert path.read_text() == "old\n"

  def killed(self, target):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
      write_whole(path, "new\n")
  assert path.read_text() == "old\n"
  write_whole(str(path), "new\n")
  assert path.read_text() == "new\n"
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_half_a_pair_is_written_where_it_may_be(tmp_path):
  with pytest.raises(UnicodeEncodeError):
    write_whole(tmp_path / "a", "caption \ud83d")
  assert not (tmp_path / "a").exists()
  write_whole(tmp_path / "a", "caption \ud83d", errors="replace")
  assert (tmp_path / "a").read_text() == "caption ?"


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"9" * 5000, "not JSON"),
    (b"\xff\xfe", "not UTF-8"),
  ],
)
def test_damaged_json_is_named(tmp_path, content, match):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=rf"x\.json: {match}"):
    files.read_json(path)


def test_names_lead_nowhere_else(tmp_path):
  assert files.inside(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"
  for name in ("/etc/passwd", "../x", "a/../../x", "", ".", "a\0b", 3, None):
    with pytest.raises(ValueError, match="not a file inside"):
      files.inside(tmp_path, name)


def test_a_byte_order_mark_is_no_text(tmp_path):
  path = tmp_path / "x.txt"
  path.write_bytes(b"\xef\xbb\xbfred\r\nblue\xe2\x80\xa8green\n\n")
  assert files.lines(files.read_text(path)) == ["red", "blue\u2028green"]


def test_only_regular_files_are_read(tmp_path):
  os.mkfifo(tmp_path / "pipe")
  for path in (tmp_path / "pipe", pathlib.Path("/dev/zero")):
    with pytest.raises(ValueError, match="not a regular file"):
      files.read_text(path)
  (tmp_path / "large").write_bytes(b"1234")
  with pytest.raises(ValueError, match="4 bytes; at most 3"):
    files.read_bytes(tmp_path / "large", most=3)


def test_home_is_expanded(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert files.expanded("~/x") == tmp_path / "x"
  assert files.expanded("a/~") == pathlib.Path("a/~")


@given(st.text())
def test_what_is_shown_moves_no_cursor(text):
  found = files.shown(text)
  assert len(found) <= 10 * files.SHOWN
  joiners, emoji = "\u200c\u200d", range(0x1F000, 0x1FB00)
  assert all(c.isprintable() or c in joiners or ord(c) in emoji for c in found)
  if text.isprintable() and len(text) <= files.SHOWN:
    assert found == text


def test_long_names_are_cut():
  assert len(files.shown("a" * 4_000_000)) <= files.SHOWN
  assert files.shown("\x1b[2Jx\u202ey") == "\\x1b[2Jx\\u202ey"
  assert files.shown("\U0001fabf") == "\U0001fabf"  # of Unicode 15


def test_a_second_process_is_kept_out_of_a_locked_folder(tmp_path):
  second = files.lock(tmp_path)
  with (
    files.lock(tmp_path) as locked,
    pytest.raises(ValueError, match="another run is writing"),
  ):
    second.__enter__()
  assert locked
  with files.lock(tmp_path):
    pass


def test_a_failed_write_names_the_file_and_leaves_no_half(
  tmp_path, monkeypatch
):
  def full(self, content):
    self.touch()
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  with pytest.raises(OSError, match=r"No space left on device: '.*/a\.json'"):
    write_whole(tmp_path / "a.json", "x")
  assert not [*tmp_path.iterdir()]
  monkeypatch.undo()
  with pytest.raises(FileNotFoundError, match=r"'.*/no/a\.json'"):
    write_whole(tmp_path / "no" / "a.json", "x")


def test_neither_links_nor_names_lead_out_of_a_folder(tmp_path):
  folder = tmp_path / "in"
  (folder / "sub").mkdir(parents=True)
  for path in (folder / "a", folder / "sub" / "b", tmp_path / "out"):
    path.write_text("")
  (folder / "near").symlink_to(folder / "a")
  (folder / "far").symlink_to(tmp_path / "out")
  (folder / "loop").symlink_to(folder / "loop")
  (folder / "up").symlink_to(tmp_path)
  os.mkfifo(folder / "pipe")
  for name, wanted in (("a", "a"), ("sub/b", "sub/b"), ("near", "a")):
    assert files.file_in(folder, folder / name) == folder / wanted
  assert files.file_in(folder, folder / "sub/../a") == folder / "a"
  for name in ("far", "loop", "up/out", "pipe", "sub", "gone", "../out", "\0"):
    assert files.file_in(folder, f"{folder}/{name}") is None
  assert files.file_in(tmp_path / "gone", folder / "a") is None


class Hub:
  """Stands in for `huggingface_hub`."""

  def __init__(self, folder):
    self.folder = folder

  def hf_hub_download(self, repository, name, revision):
    path = self.folder / repository / (revision or "main") / name
    if not path.exists():
      raise KeyError(f"404 Client Error: {name}")
    return str(path)


def test_a_file_of_the_hub_or_of_this_machine(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(tmp_path))
  for revision in ("main", "v1"):
    (tmp_path / "org/name" / revision).mkdir(parents=True)
    (tmp_path / "org/name" / revision / "t.json").touch()
  place = tmp_path / "org/name"
  found = files.fetched("hf-hub:org/name", "t.json")
  assert found == place / "main/t.json"
  found = files.fetched("hf-hub:org/name@v1", "t.json")
  assert found == place / "v1/t.json"
  assert files.fetched("a/b.json", "t.json") == pathlib.Path("a/b.json")
  with pytest.raises(OSError, match=r"hf-hub:org/no: t\.json was not fetched"):
    files.fetched("hf-hub:org/no", "t.json")
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ImportError, match="hyperclip-jax\\[hub\\]"):
    files.fetched("hf-hub:org/name", "t.json")
