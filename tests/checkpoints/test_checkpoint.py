"""Checkpoints: whole or not there, and never trusted when damaged."""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.checkpoints.checkpoint import Checkpoints
from hyperclip_jax.commands import door
from hyperclip_jax.data.records import digests
from hyperclip_jax.training.step import TrainState

LIKE = TrainState(
  step=jax.ShapeDtypeStruct((), jnp.int32),
  variables={"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)},
  opt_state={"m": jax.ShapeDtypeStruct((64,), jnp.float32)},
)


def state(step):
  """One whose numbers tell its step."""
  w = jax.random.normal(jax.random.key(step), (64, 64))
  return TrainState(jnp.int32(step), {"w": w}, {"m": jnp.full(64, step / 7)})


def like():
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return checkpoint.abstract(LIKE, jax.tree.map(lambda _: device, LIKE))


def save(workdir, *steps, keep=3, keep_every=0):
  with Checkpoints(workdir, keep, keep_every) as checkpoints:
    for step in steps:
      checkpoints.save(state(step), {"examples_seen": 16 * step})


def restored(workdir, read_only=False):
  """The step restored, once its numbers are found to be right."""
  with Checkpoints(workdir, read_only=read_only) as checkpoints:
    found, meta = checkpoints.restore(like())
  jax.tree.map(np.testing.assert_array_equal, found, state(int(found.step)))
  assert meta == {"examples_seen": 16 * int(found.step)}
  return int(found.step)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("three")
  save(workdir, 2, 4, 6)
  return workdir


@pytest.fixture
def workdir(three, tmp_path):
  """A run with good steps 2, 4, 6."""
  return pathlib.Path(shutil.copytree(three, tmp_path / "run"))


def files(workdir, step=6):
  folder = workdir / checkpoint.FOLDER / str(step)
  return sorted(p for p in folder.rglob("*") if p.is_file())


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8 % len(data)] ^= 1 << bit % 8
  path.write_bytes(data)


def test_the_newest_good_step_is_restored(workdir):
  assert checkpoint.steps(workdir) == [2, 4, 6]
  assert restored(workdir) == 6
  assert checkpoint.verify(workdir) == {2: None, 4: None, 6: None}


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_no_damage_to_any_file_goes_unseen(damage, workdir, caplog):
  """Each file of the newest step in turn; what else it has is not read."""
  whole = {path: path.read_bytes() for path in files(workdir)}
  wanted = digests.problem(workdir / checkpoint.FOLDER / "6")
  assert wanted is None
  seen = 0
  for i, (path, data) in enumerate(whole.items()):
    name = path.relative_to(workdir / checkpoint.FOLDER / "6").as_posix()
    if not (data and name.startswith(("state", "meta", digests.FILE))):
      continue
    if damage == "flip":
      flip(path, 7919 * (i + 1))
    elif damage == "remove":
      path.unlink()
    else:
      path.write_bytes(data[: len(data) // 2 if damage == "truncate" else 0])
    trouble = checkpoint.verify(workdir)
    assert trouble[4] is None
    assert trouble[6] is not None
    assert name in trouble[6] or name == digests.FILE
    path.write_bytes(data)
    seen += 1
  assert seen >= 6
  flip(files(workdir)[-1], 77)
  with caplog.at_level("ERROR"):
    assert restored(workdir) == 4
  assert "CHECKPOINT 6 IS BAD" in caplog.text
  assert "GOING BACK TO STEP 4" in caplog.text


def test_a_bad_step_is_moved_aside_and_saved_again(workdir):
  flip(files(workdir)[-1], 99)
  with Checkpoints(workdir) as checkpoints:
    found, _ = checkpoints.restore(like())
    assert int(found.step) == 4
    checkpoints.save(state(6), {"examples_seen": 16 * 6})
  assert checkpoint.verify(workdir) == {2: None, 4: None, 6: None}
  assert restored(workdir) == 6
  assert (workdir / checkpoint.FOLDER / "bad-6").is_dir()


def test_a_reader_moves_and_cleans_nothing(workdir):
  """It may be reading while the run saves."""
  flip(files(workdir)[-1], 99)
  half = workdir / checkpoint.FOLDER / "8.orbax-checkpoint-tmp"
  half.mkdir()
  before = sorted(workdir.rglob("*"))
  assert restored(workdir, read_only=True) == 4
  assert sorted(workdir.rglob("*")) == before


def test_foreign_and_half_folders_are_passed_over(workdir, caplog):
  folder = workdir / checkpoint.FOLDER
  (folder / "notes").mkdir()
  (folder / "007").mkdir()
  (folder / "5").write_text("no folder")
  (folder / "999").mkdir()  # a stranger's, or one whose files were lost
  half = folder / "8.orbax-checkpoint-tmp"
  shutil.copytree(folder / "6", half)
  with caplog.at_level("ERROR"):
    assert restored(workdir) == 6
  assert "CHECKPOINT 999 IS BAD: digests.json is missing" in caplog.text
  assert not half.exists()
  assert (folder / "notes").is_dir()


@pytest.mark.parametrize(
  "name",
  ["../../secret", "/etc/hostname", "link", "pipe", "/dev/zero", "", "."],
)
def test_digests_of_a_stranger_open_nothing_else(name, tmp_path):
  """What they name elsewhere is neither read nor waited for."""
  folder = tmp_path / "checkpoints" / "3"
  folder.mkdir(parents=True)
  (tmp_path / "secret").write_text("hunter2")
  (folder / "link").symlink_to(tmp_path / "secret")
  os.mkfifo(folder / "pipe")
  (folder / digests.FILE).write_text(json.dumps({name: "7 bytes"}))
  trouble = digests.problem(folder)
  assert trouble is not None
  assert "inside" in trouble
  assert "sha256" not in trouble


def test_digests_of_a_stranger_are_shown_escaped(tmp_path):
  (tmp_path / "state").mkdir()
  name = "state/\x1b[2Jx"
  (tmp_path / name).write_text("")
  for wanted in (
    {name: "\x1b[2J" * 1_000},
    {name + "y": ""},
    {name: [1] * 999},
  ):
    (tmp_path / digests.FILE).write_text(json.dumps(wanted))
    trouble = digests.problem(tmp_path)
    assert trouble is not None
    assert "\x1b" not in trouble
    assert len(trouble) < 1_000
  os.remove(tmp_path / digests.FILE)
  os.mkfifo(tmp_path / digests.FILE)
  assert "not a regular file" in str(digests.problem(tmp_path))


def test_a_step_before_one_that_is_there_is_not_lost_in_silence(workdir):
  with (
    Checkpoints(workdir) as checkpoints,
    pytest.raises(checkpoint.CheckpointError, match="step 5 cannot be saved"),
  ):
    checkpoints.save(state(5), {})


def test_no_good_step_is_an_error_and_nothing_is_moved(workdir):
  for step in (2, 4, 6):
    files(workdir, step)[-1].unlink()
  before = sorted(workdir.rglob("*"))
  with pytest.raises(
    checkpoint.CheckpointError, match=r"no step of .* is good"
  ):
    restored(workdir)
  assert sorted(workdir.rglob("*")) == before


def test_no_step_at_all(tmp_path):
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    restored(tmp_path, read_only=False)
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    checkpoint.verify(tmp_path)


def test_the_last_n_and_every_mth_are_kept(tmp_path):
  save(tmp_path, *range(1, 10), keep=2, keep_every=4)
  assert checkpoint.steps(tmp_path) == [4, 8, 9]


FULL = """
import resource, signal, sys, pathlib
from tests.checkpoints import test_checkpoint as t
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
workdir = pathlib.Path(sys.argv[1])
with t.Checkpoints(workdir) as checkpoints:
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
  checkpoints.save(t.state(8), {"examples_seen": 128})
"""


def test_a_full_disk_stops_with_the_reason_and_spares_the_rest(workdir):
  """Here writing past 4 KiB of a file fails, in a process of its own."""
  assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
  done = subprocess.run(
    [sys.executable, "-c", FULL, workdir],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 1
  assert "step 8 cannot be saved in" in done.stderr
  assert "Steps [2, 4, 6] are safe" in done.stderr
  assert "File too large" in done.stderr
  assert checkpoint.verify(workdir) == {2: None, 4: None, 6: None}
  assert restored(workdir) == 6


def test_mode_verify_says_which_step_is_bad(workdir, capsys):
  command = ["verify", f"--workdir={workdir}"]
  assert door.run(command) == 0
  flip(files(workdir, 4)[-1], 5)
  assert door.run(command) == 1
  lines = capsys.readouterr().err.splitlines()[-3:]
  assert lines[0] == "step 2: good"
  assert lines[1].startswith("step 4: ")
  assert "is not as it was written" in lines[1]
  assert lines[2] == "step 6: good"
