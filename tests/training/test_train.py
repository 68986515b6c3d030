"""Training runs end to end, resumes bit for bit, and shards exactly."""

import html
import io
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.commands import door
from hyperclip_jax.commands.train import trained_by
from hyperclip_jax.data.embedded import photos
from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.prepare import run
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.losses import ring
from hyperclip_jax.reports import run as report
from hyperclip_jax.training import (
  build,
  claim,
  log,
  runs,
  sharding,
  sources,
  train,
)
from tests import small
from tests.data import tars
from tests.faults import job
from tests.training.test_log import events

pytestmark = pytest.mark.usefixtures("standard_promotion")


def run_steps(run, steps):
  """The metrics of a run's first steps, by name, and its last state."""
  state, _ = train.first_state(run)
  step_fn, batches = (
    train.make_step(run),
    train.make_batches(run, 0, Faults(0.0)),
  )
  rows = []
  for _ in range(steps):
    batch = sharding.to_global(next(batches), run.mesh)
    state, values = step_fn(state, batch)
    rows.append(jax.device_get(values))
  metrics = {name: np.array([row[name] for row in rows]) for name in rows[0]}
  return metrics, jax.device_get(state)


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_two_seeds_differ_and_one_repeats(tmp_path):
  def losses(seed):
    config = small.config("clip")
    config.data.text_buckets = (16, 32)  # a program for each
    config.seed = seed
    return run_steps(runs.prepare(config, tmp_path), 2)[0]["loss"]

  def start(seed):
    """Parameters and the records of the first batch."""
    config = small.config("clip")
    config.seed = seed
    run = runs.prepare(config, tmp_path)
    names = pipeline.names(run.sources, (1.0,), seed, range(16))
    return train.first_state(run)[0].params, names

  (params, names), (other_params, other_names) = start(0), start(1)
  assert names != other_names
  kernels = [p["visual_proj"]["kernel"] for p in (params, other_params)]
  assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).all()
  first = losses(0)
  np.testing.assert_array_equal(losses(0), first)
  assert (losses(1) != first).all()


@pytest.mark.slow
def test_model_axis_splits_layers_and_trains_alike(tmp_path, monkeypatch):
  """With all logits of the contrastive loss at once, and in tiles."""
  monkeypatch.setattr(ring, "TILE", 10)
  config = small.config(steps=small.MANY)
  plain, _ = run_steps(runs.prepare(config, tmp_path), 4)
  config.mesh.model = 2
  run = runs.prepare(config, tmp_path)
  state, _ = train.first_state(run)
  kernel = state.params["vision"]["transformer"]["blocks"]["fc1"]["kernel"]
  assert kernel.sharding.shard_shape(kernel.shape) == (2, 32, 64)
  split, _ = run_steps(run, 4)
  np.testing.assert_allclose(split["loss"], plain["loss"], rtol=1e-5)
  config.model.contrast = "tiled"
  tiles, _ = run_steps(runs.prepare(config, tmp_path), 4)
  for name, values in split.items():
    np.testing.assert_allclose(tiles[name][:2], values[:2], 1e-5, err_msg=name)
  np.testing.assert_allclose(tiles["loss"], split["loss"], rtol=1e-5)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """The workdir of a run of two steps."""
  workdir = tmp_path_factory.mktemp("ended")
  config = small.config("clip", steps=2)
  config.histograms_every = 2
  with jax.numpy_dtype_promotion("standard"):
    train.train(runs.prepare(config, workdir))
  return workdir


def test_gradients_of_each_parameter_are_shown(ended):
  (found,) = events(ended)
  shown = {
    value.tag: (event.step, value.histo.num)
    for event in found
    for value in event.summary.value
    if value.tag.startswith("gradients/")
  }
  params = runs.prepare(small.config("clip", steps=2), ended).shapes.params
  sizes = jax.tree_util.tree_leaves_with_path(params)
  assert shown == {
    "gradients/" + "/".join(key.key for key in path): (2, leaf.size)
    for path, leaf in sizes
  }


def test_other_config_in_the_same_workdir_is_refused(ended):
  other = small.config("clip", steps=2)
  other.model.embed_dim = 32
  with pytest.raises(
    ValueError, match=r"config.model.embed_dim was 16, now 32"
  ):
    runs.prepare(other, ended)


def test_logging_may_change_between_runs(ended):
  other = small.config("clip", steps=2)
  other.log_every = 5
  run = runs.prepare(other, ended)
  assert run.config.log_every == 5


def test_non_finite_updates_are_skipped_and_then_stop_the_run(
  tmp_path, monkeypatch
):
  bad = job.with_bad_numbers(train.make_batches, lambda step: step > 1)
  monkeypatch.setattr(train, "make_batches", bad)
  config = small.config("clip")
  config.max_bad_steps = 1
  config.checkpoint.every = 1
  seen = pipeline.names(
    sources.training(config), (1.0,), config.seed, range(16, 48)
  )
  with pytest.raises(FloatingPointError, match=r"2 updates .*by step 3"):
    train.train(runs.prepare(config, tmp_path))
  rows = (tmp_path / "skipped.jsonl").read_text().splitlines()
  assert [json.loads(row)["step"] for row in rows] == [2, 3]
  assert [n for row in rows for n in json.loads(row)["records"]] == seen
  skipped = [row["skipped"] for row in log.read(tmp_path)]
  assert skipped == [0.0, 1.0]
  # Saved after the first skip: the batch is spent, and nothing else changed.
  run = runs.prepare(config, tmp_path)
  fresh, _ = train.first_state(run)
  with train.checkpoint.Checkpoints(tmp_path, read_only=True) as checkpoints:
    state, meta = train.first_state(run, checkpoints)
  assert (int(state.step), meta["examples_seen"]) == (2, 32)
  assert_same(state.params, fresh.params)  # the first step's rate was 0
  assert int(state.opt_state[0].count) == 1


def test_what_was_skipped_after_the_checkpoint_is_told_once(
  tmp_path, monkeypatch
):
  """A run that dies after a skipped step makes that step again."""
  bad = job.with_bad_numbers(train.make_batches, lambda step: step in (2, 3))
  monkeypatch.setattr(train, "make_batches", bad)
  config = small.config("clip")
  config.log_every = config.steps
  run = runs.prepare(config, tmp_path)
  train.train(run)
  for step in (4, 6):
    shutil.rmtree(tmp_path / f"checkpoints/{step}")
  train.train(run)
  rows = (tmp_path / "skipped.jsonl").read_text().splitlines()
  assert [json.loads(row)["step"] for row in rows] == [2, 3]


def test_a_run_may_be_prolonged_when_asked(ended, tmp_path):
  shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
  longer = small.config("clip", steps=6)
  longer.histograms_every = 2
  with pytest.raises(
    ValueError, match=r"steps was 2, now 6\n.* give --extend=6 \("
  ):
    runs.prepare(longer, tmp_path)
  # The flag alone: the config is that of the run.
  options = door.parsed("train", [f"--workdir={tmp_path}", "--extend=6"])
  prolonged = runs.anchored(trained_by(options))
  longer.checkpoint.allow_steps_change = True
  assert prolonged.to_json() == runs.anchored(longer).to_json()
  train.train(runs.prepare(prolonged, tmp_path))
  rows = log.read(tmp_path)
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
  # The schedule of six steps, from the third on.
  schedule = build.schedule(longer)
  for row in rows[2:]:
    rate = np.float32(schedule(row["step"] - 1))
    assert row["learning_rate"] == pytest.approx(rate)
  longer.steps = 3
  message = r"has already taken 6 steps: config\.steps"
  with pytest.raises(ValueError, match=message):
    runs.prepare(longer, tmp_path)


def test_a_run_without_a_config_is_one_that_exists(tmp_path):
  options = door.parsed("train", [f"--workdir={tmp_path}", "--extend=6"])
  with pytest.raises(FileNotFoundError, match=r"holds no run yet: give --conf"):
    trained_by(options)


def test_a_workdir_whose_name_is_no_text_is_refused_at_once(tmp_path):
  workdir = tmp_path / os.fsdecode(b"caf\xe9")
  with pytest.raises(
    ValueError, match=r"udce9: the name is not UTF-8"
  ) as error:
    runs.prepare(small.config("clip"), workdir)
  assert str(error.value).isprintable()


def test_a_workdir_in_use_is_refused(tmp_path, monkeypatch):
  run = runs.prepare(small.config("clip", steps=2), tmp_path)
  with (
    claim.claimed(tmp_path),
    pytest.raises(OSError, match="another process trains here"),
  ):
    train.train(run)
  assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_photographs_go_through_loader_step_and_report(tmp_path):
  photos.write(tmp_path)
  config = small.config(steps=2)
  del config.shapes
  config.data.held_out = ""
  config.data.shards = f"{tmp_path}/photos/*.tar"
  config.data.min_side = 32
  config.batch_size = 8
  config.model.text.vocab = 49_408  # captions of people, in few tokens
  config.data.text_buckets = (32,)
  run = runs.prepare(config, tmp_path / "run")
  model = train.train(run)
  assert model is not None
  data = sources.sample(config, run.sources)
  assert (data.name, len(data.records)) == ("train_sample", 8)
  report.evaluate(tmp_path / "run", config, model, data)
  page = html.unescape((tmp_path / "run/report.html").read_text())
  for record in data.records:
    assert record.caption in page


@pytest.mark.slow
def test_bfloat16_towers_train(tmp_path):
  config = small.config(steps=small.MANY)
  exact, _ = run_steps(runs.prepare(config, tmp_path), 3)
  config.model.dtype = "bfloat16"
  run = runs.prepare(config, tmp_path)
  rounded, state = run_steps(run, 3)
  assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {
    "float32"
  }
  # Eight bits of mantissa in the towers; losses of about four.
  np.testing.assert_allclose(rounded["loss"], exact["loss"], rtol=0.02)
  assert (rounded["loss"] != exact["loss"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["processed", "prepared", "prepared_crops"])
def test_a_run_trains_from_each_layout(layout, tmp_path):
  """Raw tars are what all other tests train from."""
  if layout == "processed":
    members = [
      member for i in range(24) for member in tars.processed_members(f"{i:04d}")
    ]
    (tmp_path / "data").mkdir()
    tars.write_tar(tmp_path / "data/00000.tar", members)
  else:
    crops = layout == "prepared_crops"
    raw = f"{small.shapes_folder()}/train/*.tar"
    run.prepare([raw], f"{tmp_path}/data", Options(min_side=4, crops=crops))
  config = small.config(steps=2)
  del config.shapes
  config.data.held_out = ""
  config.data.shards = f"{tmp_path}/data/*.tar"
  config.data.text_buckets = (32,)  # one program for all
  config.data.parts_per_image = 2
  config.data.distortions.update(flip=0.5, jitter=0.5, hue=0.1, blur=0.5)
  train.train(runs.prepare(config, tmp_path / "run"))
  rows = log.read(tmp_path / "run")
  assert [row["step"] for row in rows] == [1, 2]
  assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_a_smaller_vocabulary_trains(tmp_path):
  for system in ("hycoclip", "clip"):
    config = small.config(system)
    config.model.text.vocab = 1000
    run = runs.prepare(config, tmp_path)
    batch = next(train.make_batches(run, 0, Faults(0.0)))
    assert max(leaves["text"].max() for leaves in batch.values()) == 999
  metrics, state = run_steps(run, 2)
  assert np.isfinite(metrics["loss"]).all()
  model = train._model(run, state.variables)
  assert np.isfinite(model.encode_text(["a red circle"])).all()


@pytest.mark.parametrize(
  ("system", "form"),
  [("clip", "tar"), ("meru", "folder"), ("clip", "csv"), ("hycoclip", "tsv")],
)
def test_images_with_texts_train_what_needs_no_parts(system, form, tmp_path):
  config = small.config(system)
  del config.shapes
  config.data.held_out = ""
  config.data.shards = captioned(tmp_path / "pairs", form)
  if system == "hycoclip":
    with pytest.raises(
      ValueError,
      match=r"This system trains on parts: .* `hyperclip ground` find",
    ):
      runs.prepare(config, tmp_path / "run")
    return
  run = runs.prepare(config, tmp_path / "run")
  record = run.sources[0][7]
  assert (record.caption, len(run.sources[0])) == ("picture 7", 20)
  metrics, _ = run_steps(run, 2)
  assert np.isfinite(metrics["loss"]).all()
  if form != "tar":  # packed once, and the config says where
    where = f"{tmp_path}/run/data/shards_0"
    assert run.config.data.shards == where
    before = os.stat(f"{where}/00000.tar").st_mtime_ns
    again = runs.prepare(config, tmp_path / "run")
    assert os.stat(f"{where}/00000.tar").st_mtime_ns == before
    assert again.sources[0].shards == run.sources[0].shards


def captioned(folder, form):
  """Twenty pictures with captions, in one of the forms that are read."""
  names = [f"{i:02d}" for i in range(20)]
  if form == "tar":
    pairs = [
      (f"{name}.{kind}", data)
      for name in names
      for kind, data in (
        ("png", _png(int(name))),
        ("txt", f"picture {int(name)}".encode()),
      )
    ]
    return tars.write_tar(folder.with_suffix(".tar"), pairs)
  (folder / "a").mkdir(parents=True)
  for name in names:
    (folder / "a" / f"{name}.png").write_bytes(_png(int(name)))
    if form == "folder":
      (folder / "a" / f"{name}.txt").write_text(f"picture {int(name)}\n")
  if form == "folder":
    return str(folder)
  mark = "," if form == "csv" else "\t"
  rows = [f"a/{name}.png{mark}picture {int(name)}" for name in names]
  path = folder / f"pairs.{form}"
  path.write_text("\n".join([f"filepath{mark}title", *rows]))
  return str(path)


def _png(seed):
  out = io.BytesIO()
  pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8)
  Image.fromarray(pixels).save(out, "PNG")
  return out.getvalue()
