import importlib.util
import subprocess
import sys

import pytest

from hyperclip_jax.commands import door
from tests.data.prepare.test_run import COMMAND, files, main, write_raw
from tests.data.tars import raw_members, write_tar


@pytest.mark.skipif(
  importlib.util.find_spec("apache_beam") is None, reason="needs apache-beam"
)
def test_direct_runner_makes_the_folder_of_a_local_run(tmp_path):
  pattern = write_raw(tmp_path / "in")
  bad = write_tar(tmp_path / "in/raw9.tar", raw_members("a"))
  with open(bad, "r+b") as file:
    file.truncate(2000)
  local, beam = tmp_path / "local", tmp_path / "beam"
  flags = ["--input", pattern, "--on_bad_shard=skip", "--crops"]
  main(*flags, "--output", local)
  # One of the four is there already, as if an earlier run had been killed.
  beam.mkdir()
  for name in ("00001.tar", "00001.tar.index", "00001.json"):
    (beam / name).write_bytes((local / name).read_bytes())
  stamp = (beam / "00001.tar").stat().st_mtime_ns
  runner = "--runner=DirectRunner --direct_num_workers=2"
  subprocess.run(
    [*COMMAND, *flags, "--output", str(beam), f"--beam_args={runner}"],
    check=True,
  )
  assert files(beam) == files(local)
  assert (beam / "00001.tar").stat().st_mtime_ns == stamp


def test_missing_beam_is_named_with_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  pattern = write_raw(tmp_path / "in", shards=1)
  flags = ["--input", pattern, "--output", str(tmp_path / "out")]
  with pytest.raises(SystemExit, match=r"hyperclip-jax\[prepare\]"):
    door.run(["prepare", *flags, "--beam_args=--runner=DirectRunner"])
