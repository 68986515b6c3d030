"""The command line, as a user meets it: real processes, real files."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from ml_collections import ConfigDict

import hyperclip_jax
from hyperclip_jax import main
from hyperclip_jax.commands import door
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import log, runs
from tests import small
from tests.data.tars import raw_members, write_tar

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = """
from tests import small
import functools
small.shapes_folder = lambda: {folder!r}
def get_config(system="hycoclip"):
  return small.config(system)
"""


def environment(devices=1):
  flags = f"--xla_force_host_platform_device_count={devices}"
  return os.environ | {
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": flags,
    # What the tests are strict about is no setting of a user's.
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
  }


def command(*args):
  return [sys.executable, "-m", "hyperclip_jax.main", *map(str, args)]


def run(*args, devices=1):
  """The finished process of one command."""
  return subprocess.run(
    command(*args),
    cwd=ROOT,
    env=environment(devices),
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
  path = tmp_path_factory.mktemp("config") / "small.py"
  path.write_text(CONFIG.format(folder=small.shapes_folder()))
  return path


@pytest.fixture
def no_tar(tmp_path):
  path = tmp_path / "notes.tar"
  path.write_text("these are no shards" * 100)
  return path


@pytest.fixture
def foreign_tar(tmp_path):
  path = tmp_path / "foreign.tar"
  (tmp_path / "a.flac").write_bytes(b"sound")
  with tarfile.open(path, "w") as tar:
    tar.add(tmp_path / "a.flac", "a.flac")
  return path


def refused(*args):
  """The message that a command ends with, in this process."""
  with pytest.raises(SystemExit) as exit_info:
    door.run(main.by_mode([*map(str, args)]))
  message = exit_info.value.code
  assert isinstance(message, str)  # So the exit code is 1.
  assert message.startswith("error: ")
  assert "\\" not in message
  assert "Traceback" not in message
  return message


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--colour=red"], "train has no flag --colour"),
    (["--config.seed", "1", "--colour", "red"], "has no flag --colour"),
    (["--dry_ru"], "no flag --dry_ru, did you mean --dry_run?"),
    (["--lr=1"], "did you mean --config.optim.learning_rate?"),
    (["--batchsize=1"], "did you mean --config.batch_size?"),
    (["--dry_run=maybe"], "--dry_run: want true or false, found 'maybe'"),
    (["--workdir="], "--workdir: want a path, found ''"),
    (["--process"], "--process: expected one argument"),
    (["stray"], "stray arguments: stray"),
    (["--config.optim.learning_rat=1"], "--config.optim.learning_rate?"),
    (["--config.optm.learning_rate=1"], "--config.optim.learning_rate?"),
    (["--config.optim.lr=1"], "did you mean --config.optim.learning_rate?"),
    (["--config.batchsize=1"], "did you mean --config.batch_size?"),
    (["--config.optim.learning_rate=nan"], "learning_rate must be finite"),
    (["--config.batch_size=-4"], "config.batch_size must be finite and more"),
    (["--config.steps=many"], "must be a whole number, found 'many'"),
    (["--config.data.crop_scale=0.9"], "crop_scale must be two fractions"),
    (["--config.data.crop_scale=(0.5,'a')"], "crop_scale must be numbers in"),
    (["--config.data.weights=('a',)"], "config.data.weights must be numbers"),
    (["--config.optim=5"], "config.optim is a section"),
    (["--mode=trian"], "no command 'trian', did you mean train? There are"),
    (["--mode", "dance"], "no command 'dance'. There are train, eval"),
    (["--steps=9"], "of traverse, not of train, did you mean --config.steps?"),
    (["--json", "--top=3"], "--json is a flag of classify, search, traverse"),
    (["--json", "--top=3"], "--top is a flag of classify, search, not of tra"),
    (["--model=a"], "export, evals, demo, not of train"),
    (["--mode=eval"], "--config is a flag of train, embed, not of eval"),
    (["--mode=verify", "--config.seed=1"], "seed=1 changes nothing with"),
    (["--mode=verify", "--dry_run"], "--dry_run is a flag of train, not of v"),
    (["--processes=x"], "--processes: want a whole number from 1 on, found"),
  ],
)
def test_bad_flag_is_one_message_and_no_work(
  args, message, config_file, tmp_path
):
  workdir = tmp_path / "run"
  found = refused(f"--config={config_file}", f"--workdir={workdir}", *args)
  assert message in found
  assert not workdir.exists()


def test_a_bad_flag_of_a_process(config_file, tmp_path):
  workdir = tmp_path / "run"
  done = run(f"--config={config_file}", f"--workdir={workdir}", "--colour=red")
  assert done.returncode == 1
  assert done.stderr.strip().splitlines()[-1] == (
    "error: train has no flag --colour"
  )


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("config.optim.lr = 1e-3", "config.optim.lr: no such value, did you mean"),
    ("config.steps = 'many'", "TypeError: "),
    ("config.shapes = {'train': -1}", "config.shapes.train must be finite"),
    ("config.nope()", "AttributeError"),
    (
      "config.system = 'x'",
      "config.system must be one of atmg",
    ),
  ],
)
def test_a_bad_config_file_is_one_message(line, message, tmp_path):
  path = tmp_path / "a.py"
  path.write_text(
    "from hyperclip_jax.training.config import paper\n"
    f"def get_config():\n  config = paper()\n  {line}\n  return config\n"
  )
  found = refused(f"--config={path}", f"--workdir={tmp_path / 'run'}")
  assert message in found
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("steps", 10**400),
    ("optim.learning_rate", 10**400),
    ("optim.learning_rate", math.nan),
    ("data.crop_scale", [[0.5], [1.0]]),
    ("data.weights", [10**400, 1]),
    ("model.vision.depth", 10**9),
    ("model.vision.new", 1),
    ("system", 3),
    ("system", ["clip"]),
    ("shapes", []),
  ],
)
def test_a_hostile_config_of_a_run_is_one_message(name, value, tmp_path):
  tree = config_lib.paper().to_dict()
  section, _, key = name.rpartition(".")
  node = tree
  for part in section.split(".") if section else ():
    node = node[part]
  node[key] = value
  (tmp_path / "config.json").write_text(json.dumps(tree))
  found = refused("--mode=eval", f"--workdir={tmp_path}")
  assert "not a run's config" in found
  assert len(found) < 1000


def test_workdir_at_home_and_data_that_have_moved(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert str(tmp_path / "runs") in refused("--mode=eval", "--workdir=~/runs")
  config = config_lib.paper()
  config_lib.add_shapes(config, config_lib.Shapes())
  (tmp_path / "config.json").write_text(config.to_json())
  moved = refused("--mode=eval", "--workdir=~", "--config.shapes.folder=/new")
  assert "'/new/val'" in moved
  assert "if the run's data have moved, say where: --config.shapes" in moved
  given = refused(
    "--mode=eval", "--workdir=~", "--config=a.py", "--config.shapes.folder=/new"
  )
  assert f"run in {tmp_path}, and takes only the paths of its data: " in given
  assert "--config.shapes.folder=/new" in given


def test_a_run_keeps_its_paths_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", "/home/me")
  config = config_lib.paper()
  config.data.shards = "a/*.tar, ~/{b,c}/*.tar,/d/*.tar"
  config.data.index_folder = "index,1"
  config.shapes = ConfigDict({"folder": "data/shapes"})
  config_lib.fill(config)
  found = runs.anchored(config)
  assert (
    found.data.shards == f"{tmp_path}/a/*.tar,/home/me/{{b,c}}/*.tar,/d/*.tar"
  )
  assert found.data.index_folder == f"{tmp_path}/index,1"
  assert found.shapes.folder == f"{tmp_path}/data/shapes"
  assert runs.anchored(found) == found
  assert config.shapes.folder == "data/shapes"
  empty = config_lib.paper()
  empty.data.shards = ""
  assert runs.anchored(empty) == empty


def test_main_is_train_or_the_command_of_mode():
  for argv, want in (
    (["--config=a", "--workdir", "b"], "train --config=a --workdir b"),
    (["--a=1=2", "--mode=eval"], "eval --a=1=2"),
    (["--mode", "demo", "-x"], "demo -x"),
    (["-mode=verify", "--mode=eval"], "eval"),
    ([], "train"),
    (["--mode"], "train"),
  ):
    assert main.by_mode(argv) == want.split()


def test_batch_that_devices_do_not_divide(config_file, tmp_path):
  found = refused(
    f"--config={config_file}", f"--workdir={tmp_path / 'run'}",
    "--config.batch_size=15",
  )  # fmt: skip
  assert "multiple of the 8 devices" in found


def test_missing_config_and_unknown_system(config_file, tmp_path):
  workdir = f"--workdir={tmp_path / 'run'}"
  assert "no_such.py" in refused("--config=configs/no_such.py", workdir)
  assert "siglip" in refused(f"--config={config_file}:siglip", workdir)


@pytest.mark.parametrize(
  ("kind", "message"),
  [
    ("/nowhere/*.tar", "no file matches '/nowhere/*.tar'"),
    ("no_tar", "not a tar"),
    ("foreign_tar", "unknown layout with the suffixes flac"),
  ],
)
def test_bad_shards(kind, message, tmp_path, request):
  shards = kind if "*" in kind else request.getfixturevalue(kind)
  found = refused(
    f"--config={ROOT}/configs/grit_vits.py", f"--workdir={tmp_path / 'run'}",
    f"--config.data.shards={shards}",
  )  # fmt: skip
  assert message in found


def test_too_many_bad_records_end_a_run_with_a_message(config_file, tmp_path):
  members = [m for i in range(20) for m in raw_members(f"{i:03d}", i)]
  broken = [
    (name, b"no jpeg" if name.endswith("jpg") else data)
    for name, data in members
  ]
  path = write_tar(tmp_path / "00000.tar", broken)
  done = run(
    f"--config={config_file}", f"--workdir={tmp_path / 'run'}",
    f"--config.data.shards={path}", "--config.shapes.folder=",
  )  # fmt: skip
  assert done.returncode == 1
  assert re.search(r"error: \d+ of the first \d+ examples were", done.stderr)
  assert "00000.tar: record '0" in done.stderr
  assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_train_report_eval_and_dry_run(config_file, tmp_path):
  config, workdir = f"--config={config_file}", f"--workdir={tmp_path / 'run'}"
  dry = run(config, workdir, "--dry_run")
  assert dry.returncode == 0, dry.stderr
  for word in ("parameters", "memory per device", "FLOPs", "one step", "uint8"):
    assert word in dry.stderr
  assert not (tmp_path / "run").exists()

  done = run(config, workdir, "--verbose")
  assert done.returncode == 0, done.stderr
  assert "\n6/6  loss " in done.stderr
  assert done.stderr.count("\n  average loss ") == 6  # terms at every line
  assert "data      256 records of " in done.stderr
  assert "steps     1 to 6, batches of 16\n" in done.stderr
  assert f"workdir   {tmp_path / 'run'}\n" in done.stderr
  said = [
    "workdir  ",
    "compiling the initial parameters\n",
    "compiling the step for texts of 32 tokens, which",
  ]
  assert sorted(said, key=done.stderr.index) == said
  assert "Warning" not in done.stderr
  assert max(map(len, done.stderr.splitlines()[-12:])) <= 100
  assert "samples/s" in done.stderr
  page = (tmp_path / "run/report.html").read_text()
  assert "Zero-shot classification" in page
  (events,) = (tmp_path / "run/tensorboard").iterdir()
  for name in ("_hparams_/session_start_info", "loss/total"):
    assert name.encode() in events.read_bytes()
  model = hyperclip_jax.load(tmp_path / "run")
  model.save_pretrained(tmp_path / "release")
  card = (tmp_path / "release/README.md").read_text()
  found = json.loads((tmp_path / "run/results.json").read_text())
  assert f"| zero_shot/top1 | {found['eval/zero_shot/top1']:.4g} |" in (
    card.replace("\\", "")
  )

  (tmp_path / "run/report.html").unlink()
  done = run("--mode=eval", workdir)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "run/report.html").exists()


@pytest.mark.slow
def test_interrupted_run_is_saved_and_goes_on(config_file, tmp_path):
  args = [
    f"--config={config_file}:clip", f"--workdir={tmp_path}",
    "--config.steps=2000", "--config.checkpoint.every=100000",
  ]  # fmt: skip
  process = subprocess.Popen(
    command(*args), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip
  assert process.stderr is not None
  for line in process.stderr:
    if "/" in line and "  loss " in line:
      process.send_signal(signal.SIGINT)
      break
  rest = process.stderr.read()
  process.stderr.close()
  assert process.wait(timeout=120) == 0
  assert "is saved; run the same command again" in rest
  saved = log.read(tmp_path)[-1]["step"]
  args[-2] = f"--config.steps={saved + 2}"
  args.append("--config.checkpoint.allow_steps_change")
  done = run(*args)
  assert f"resumed from step {saved}" in done.stderr
  assert done.returncode == 0, done.stderr


def begin(*args):
  """A command that is running."""
  return subprocess.Popen(
    command(*args), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip


def hears(process, number):
  """Whether a process has a handler for a signal."""
  status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
  mask = re.search(r"SigCgt:\s*(\w+)", status)
  return bool(mask and int(mask[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_a_run_that_is_stopped_while_it_starts_ends_with_its_code(
  config_file, tmp_path
):
  process = begin(
    f"--config={config_file}", f"--workdir={tmp_path}", "--stopped_code=75"
  )
  end = time.monotonic() + 60
  while not hears(process, signal.SIGTERM) and time.monotonic() < end:
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  _, stderr = process.communicate(timeout=120)
  assert process.returncode == 75
  assert stderr == "SIGTERM: ended; run the same command again to continue\n"
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_is_stopped_in_its_report_and_then_loses_its_reader(
  config_file, tmp_path
):
  args = [
    f"--config={config_file}", f"--workdir={tmp_path}", "--stopped_code=75"
  ]  # fmt: skip
  process = begin(*args)
  for line in process.stderr:
    if line.startswith("goodput"):
      process.send_signal(signal.SIGTERM)
      break
  rest = process.stderr.read()
  process.stderr.close()
  assert process.wait(timeout=120) == 75
  assert "SIGTERM: ended; run the same command again to continue" in rest
  assert not (tmp_path / "report.html").exists()
  assert not (tmp_path / "running.json").exists()
  shutil.rmtree(tmp_path / "checkpoints/6")
  process = begin(*args)
  for line in process.stderr:
    if line.startswith("resumed from step 4"):
      break
  process.stderr.close()
  assert process.wait(timeout=300) == 0
  assert log.read(tmp_path)[-1]["step"] == 6
  assert (tmp_path / "report.html").exists()


def pair(*args):
  """Two processes of one run, started."""
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    port = sock.getsockname()[1]
  together = [f"--coordinator=localhost:{port}", "--processes=2"]
  return [
    subprocess.Popen(
      command(*args, *together, f"--process={i}"),
      cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True,
    )
    for i in range(2)
  ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_as_one(config_file, tmp_path):
  # A seed without ties, of which rounding would swap pairs.
  same = [
    f"--config={config_file}", "--config.eval_every=3", "--config.seed=1"
  ]  # fmt: skip
  one = run(*same, f"--workdir={tmp_path / 'one'}")
  assert one.returncode == 0, one.stderr
  args = [*same, f"--workdir={tmp_path / 'two'}"]
  for process in pair(*args):
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
  (events,) = (tmp_path / "one/tensorboard").iterdir()
  assert b"examples/eval_0" in events.read_bytes()
  single, double = (
    [row["loss"] for row in log.read(tmp_path / name) if "loss" in row]
    for name in ("one", "two")
  )
  np.testing.assert_allclose(double, single, rtol=1e-6)
  # The evaluation on the way, and that of the report.
  single, double = (
    [row for row in log.read(tmp_path / name) if "eval/retrieval/i2t_r1" in row]
    + [json.loads((tmp_path / name / "results.json").read_text())]
    for name in ("one", "two")
  )
  assert len(single) == 2
  for found, wanted in zip(double, single, strict=True):
    measured = [name for name in wanted if name.startswith("eval/")]
    assert [found[name] for name in measured] == pytest.approx(
      [wanted[name] for name in measured], rel=1e-4, nan_ok=True
    )


@pytest.mark.slow
def test_a_signal_to_one_process_saves_and_ends_both(config_file, tmp_path):
  first, second = pair(
    f"--config={config_file}:clip", f"--workdir={tmp_path}",
    "--config.steps=100000", "--config.checkpoint.every=100000",
    "--stopped_code=75",
  )  # fmt: skip
  assert first.stderr is not None
  for line in first.stderr:
    if "/" in line and "  loss " in line:
      second.send_signal(signal.SIGINT)
      break
  rest, _ = first.communicate(timeout=200)[1], second.communicate(timeout=200)
  assert (first.returncode, second.returncode) == (75, 75)
  saved = log.read(tmp_path)[-1]["step"]
  assert f"stopped; step {saved} is saved" in rest
  assert (tmp_path / "checkpoints" / str(saved)).is_dir()
