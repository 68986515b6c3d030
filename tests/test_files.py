"""Files are whole, or as they were."""

import pathlib

import pytest

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
