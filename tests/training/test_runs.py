"""What evaluations are of: records held out, or a sample that says so."""

import json
import os
import pathlib

import jax
import pytest

from hyperclip_jax.reports import run as report
from hyperclip_jax.training import runs, sources, train
from tests import small
from tests.data import tars
from tests.reports.reader import Reader


def write(path: pathlib.Path, first: int, count: int = 24) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  numbers = range(first, first + count)
  members = [m for i in numbers for m in tars.raw_members(f"{i:06d}", i)]
  tars.write_tar(path, members)


@pytest.fixture
def grounded(tmp_path):
  """A config over two training shards, and a shard that nothing trains on."""
  write(tmp_path / "train" / "0.tar", 0)
  write(tmp_path / "train" / "1.tar", 24)
  write(tmp_path / "held_out" / "0.tar", 100)
  config = small.config(steps=2)
  del config.shapes
  config.data.held_out = ""
  config.data.shards = f"{tmp_path}/train/*.tar"
  config.batch_size = 8
  return config


def captions(sample):
  return [record.caption for record in sample.records]


def test_without_held_out_records_the_sample_is_named_for_what_it_is(grounded):
  sample = sources.sample(grounded)
  trained = sources.training(grounded)[0]
  assert sample.name == "train_sample"
  assert captions(sample) == [trained[i].caption for i in range(48)]


def test_held_out_shards_alone_are_evaluated(grounded, tmp_path):
  write(tmp_path / "more" / "0.tar", 200, 3)
  grounded.data.held_out = f"{tmp_path}/held_out/*.tar,{tmp_path}/more/*.tar"
  sample = sources.sample(grounded, sources.training(grounded))
  assert (sample.name, len(sample.records)) == ("eval", 27)
  trained = sources.training(grounded)[0]
  seen = {trained[i].image for i in range(len(trained))}
  assert not seen & {record.image for record in sample.records}


def test_the_embedded_scenes_are_held_out():
  sample = sources.sample(small.config())
  assert (sample.name, len(sample.records)) == ("eval", 48)
  assert sample.classes is not None


def test_an_evaluation_needs_no_training_shards(grounded, tmp_path):
  grounded.data.held_out = f"{tmp_path}/held_out/*.tar"
  grounded.data.shards = f"{tmp_path}/gone/*.tar"
  assert sources.sample(grounded).name == "eval"


@pytest.mark.parametrize("link", ["none", "symbolic", "hard"])
def test_held_out_shards_that_are_trained_on_are_refused(
  grounded, tmp_path, link
):
  path = tmp_path / "train" / "1.tar"
  if link != "none":
    path = tmp_path / "held_out" / "1.tar"
    make = path.symlink_to if link == "symbolic" else path.hardlink_to
    make(tmp_path / "train" / "1.tar")
  grounded.data.held_out = f"{tmp_path}/held_out/0.tar,{path}"
  for work in (sources.sample, lambda c: runs.prepare(c, tmp_path / "run")):
    with pytest.raises(ValueError, match=r"held_out: 1 of 2 .*1\.tar"):
      work(grounded)


def test_a_run_says_what_it_is_before_its_first_step(grounded, tmp_path):
  grounded.model.dtype = "bfloat16"
  run = runs.prepare(grounded, tmp_path / "run")
  lines = runs.summary(run, 1_234_567, 0).splitlines()
  assert lines == [
    "system    HyCoCLIP: 1,234,567 parameters, towers in bfloat16",
    "start     random parameters",
    f"data      48 records of {tmp_path}/train/*.tar",
    "held out  nothing: evaluated on training data",
    "steps     1 to 2, batches of 8",
    "devices   8 x cpu, mesh of 8 data x 1 model",
    f"workdir   {tmp_path}/run",
  ]
  grounded.data.held_out = f"{tmp_path}/held_out/*.tar"
  grounded.micro_batches = 1
  grounded.mesh.update(model=2, fsdp=True)
  run = runs.prepare(grounded, tmp_path / "run")
  lines = runs.summary(run, 1, 1).splitlines()
  assert lines[1] == "start     step 1 of this run"
  assert lines[3] == f"held out  {tmp_path}/held_out/*.tar"
  assert lines[4] == "steps     2 to 2, batches of 8"
  assert lines[5] == (
    "devices   8 x cpu, mesh of 4 data x 2 model, parameters split too (fsdp)"
  )


def test_a_command_is_shown_without_the_place_of_its_program():
  for program, wanted in (
    ("/home/me/.venv/bin/hyperclip", "hyperclip"),
    ("/a/hyperclip_jax/__main__.py", "python -m hyperclip_jax"),
    ("/a/hyperclip_jax/main.py", "python -m hyperclip_jax.main"),
  ):
    found = runs.command([program, "train", "--config.a=b c"])
    assert found == f"{wanted} train '--config.a=b c'"
  assert runs.command([]) == ""


def test_held_out_shards_are_looked_at_before_any_work(grounded, tmp_path):
  grounded.data.held_out = f"{tmp_path}/nowhere/*.tar"
  with pytest.raises(FileNotFoundError, match="nowhere"):
    runs.prepare(grounded, tmp_path / "run")
  (tmp_path / "nowhere").mkdir()
  (tmp_path / "nowhere" / "0.tar").write_bytes(b"nothing")
  with pytest.raises(ValueError, match=r"nowhere/0\.tar"):
    runs.prepare(grounded, tmp_path / "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Runs of one kind of data, once held out and once not."""
  folder = tmp_path_factory.mktemp("runs")
  write(folder / "train" / "0.tar", 0)
  write(folder / "held_out" / "0.tar", 100)
  config = small.config(steps=2)
  del config.shapes
  config.data.held_out = ""
  config.data.shards = f"{folder}/train/*.tar"
  config.batch_size = 8
  config.eval_every = 1
  run = runs.prepare(config, folder / "run")
  with jax.numpy_dtype_promotion("standard"):
    model = train.train(run)
  assert model is not None
  return config, run, model, folder


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [False, True])
def test_no_number_of_training_records_is_called_held_out(
  trained, held_out, capsys
):
  config, run, model, folder = trained
  config = config.copy_and_resolve_references()
  config.data.held_out = f"{folder}/held_out/*.tar" if held_out else ""
  data = sources.sample(config, run.sources)
  report.evaluate(run.workdir, config, model, data)
  name = "eval" if held_out else "train_sample"
  assert capsys.readouterr().err.startswith(f"{name}  retrieval/")
  results = json.loads((run.workdir / "results.json").read_text())
  assert {key.split("/")[0] for key in results} == {name}
  rows = [
    json.loads(line)
    for line in (run.workdir / "metrics.jsonl").read_text().splitlines()
  ]
  logged = {key.split("/")[0] for row in rows for key in row if "/" in key}
  assert logged == {"train_sample"}  # The run itself had none held out.
  page = Reader((run.workdir / "report.html").read_text())
  assert ("held-out records" in page.text) == held_out
  assert ("nothing was held out" in page.text) != held_out


def test_fewer_cpus_than_threads_are_told(caplog, monkeypatch):
  monkeypatch.setattr(os, "cpu_count", lambda: 96)
  for cpus, told in ((1, True), (16, False), (96, False)):
    caplog.clear()
    monkeypatch.setattr(
      os, "sched_getaffinity", lambda _, n=cpus: set(range(n))
    )
    runs._check_cpus(16)
    assert bool(caplog.records) == told
  monkeypatch.setattr(os, "cpu_count", lambda: 2)  # a laptop, all of it
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
  runs._check_cpus(16)
  assert not caplog.records
