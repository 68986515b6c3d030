"""A run goes on on other devices or processes, or with another batch size."""

import itertools
import pathlib
import shutil

import jax
import numpy as np
import pytest

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.training import runs, sharding, train
from tests import meshes, small
from tests.faults import processes

pytestmark = pytest.mark.usefixtures("standard_promotion")


def go_on(run, step_fn, steps):
  """Makes steps from the newest checkpoint and saves; losses and captions."""
  with checkpoint.Checkpoints(run.workdir) as checkpoints:
    state, meta = train.first_state(run, checkpoints)
    seen = meta["examples_seen"]
    batches = train.make_batches(run, seen, Faults(0.0))
    losses, texts = [], []
    for batch in itertools.islice(batches, steps):
      texts.append(batch["whole"]["text"])
      state, values = step_fn(state, sharding.to_global(batch, run.mesh))
      losses.append(float(values["loss"]))
    seen += steps * run.config.batch_size
    checkpoints.save(state, {"examples_seen": seen, "window": []})
  return losses, texts


def texts_of_two(run, examples_seen, steps):
  """What two processes read, each for itself, in the global order."""
  parts = []
  for which in range(2):
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(jax, "process_count", lambda: 2)
      patch.setattr(jax, "process_index", lambda which=which: which)
      batches = train.make_batches(run, examples_seen, Faults(0.0))
    parts.append(
      [batch["whole"]["text"] for batch in itertools.islice(batches, steps)]
    )
  return [np.stack(two, 1).reshape(-1, 32) for two in zip(*parts, strict=True)]


@pytest.mark.slow
def test_devices_and_processes_come_and_go(tmp_path):
  """Losses within 1e-6, and the same texts in the same order."""
  config = small.config("clip")
  config.data.text_buckets = (32,)  # as several processes have it
  eight = runs.prepare(config, tmp_path / "unbroken")
  assert eight.mesh.shape["data"] == 8
  step_of_eight = train.make_step(eight)
  wanted_losses, wanted_texts = go_on(eight, step_of_eight, 6)

  workdir = tmp_path / "moved"
  losses, texts = [], []

  def live(devices):
    run = runs.Run(config, workdir, eight.sources, meshes.mesh(devices))
    step_fn = step_of_eight if devices == 8 else train.make_step(run)
    more_losses, more_texts = go_on(run, step_fn, 1)
    losses.extend(more_losses)
    texts.extend(more_texts)

  for devices in (8, 2, 4, 1):
    live(devices)
  # Two processes make steps 5 and 6, and lose the last.
  folder = pathlib.Path(small.shapes_folder())
  options = {"steps": 6, "checkpoint.every": 1, "data.text_buckets": (32,)}
  job = processes.Job(folder, tmp_path / "cache", options, processes=2)
  processes.run(job, workdir)
  losses += [row["loss"] for row in processes.rows(workdir)]
  texts += texts_of_two(eight, 4 * 16, 2)
  shutil.rmtree(workdir / checkpoint.FOLDER / "6")
  live(8)

  wanted_losses, wanted_texts = (
    [*wanted, wanted[-1]] for wanted in (wanted_losses, wanted_texts)
  )
  jax.tree.map(np.testing.assert_array_equal, texts, wanted_texts)
  np.testing.assert_allclose(losses, wanted_losses, rtol=1e-6)


def test_another_batch_size_goes_on_from_the_examples_seen(tmp_path):
  config = small.config("clip")
  run = runs.prepare(config, tmp_path)
  (tmp_path / "config.json").write_text(config.to_json())
  state, _ = train.first_state(run)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, {"examples_seen": 3 * 16, "window": []})
  config.batch_size = 24
  with pytest.raises(ValueError, match=r"config.batch_size was 16, now 24"):
    runs.prepare(config, tmp_path)
  config.checkpoint.allow_batch_size_change = True
  run = runs.prepare(config, tmp_path)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    _, meta = train.first_state(run, checkpoints)
  batch = next(train.make_batches(run, meta["examples_seen"], Faults(0.0)))
  assert len(batch["whole"]["text"]) == 24
  names = pipeline.names(run.sources, (1.0,), config.seed, range(48, 72))
  source = run.sources[0]
  by_name = {source.name(i): source[i].caption for i in range(len(source))}
  tokenize = Tokenizer(config.model.text.vocab)
  wanted = tokenize([by_name[name] for name in names], 32)
  width = batch["whole"]["text"].shape[1]
  np.testing.assert_array_equal(batch["whole"]["text"], wanted[:, :width])
