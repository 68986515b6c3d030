"""Metrics of a run that was killed and goes on are those of one run."""

import json

import jax.numpy as jnp
import numpy as np

from hyperclip_jax import metrics


def write(workdir, start, steps):
  with metrics.Writer(workdir, start) as writer:
    for step in steps:
      writer.write(step, {"loss": step / 10})


def test_rows_after_the_checkpoint_are_made_again(tmp_path):
  write(tmp_path, 0, [1, 2, 3, 4])
  path = tmp_path / metrics.FILE
  path.write_text(path.read_text() + '{"step": 5, "lo')  # killed there
  write(tmp_path, 2, [3])
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row["step"] for row in rows] == [1, 2, 3]


def test_a_last_row_without_its_end_is_dropped(tmp_path):
  path = tmp_path / metrics.FILE
  path.write_text('{"step": 1}\n{"step": 2}')
  write(tmp_path, 2, [3])
  assert [row["step"] for row in metrics.read(tmp_path)] == [1, 3]


def test_a_run_that_was_killed_can_be_read(tmp_path):
  path = tmp_path / metrics.FILE
  path.write_bytes(b'{"step": 1, "loss": 2.5}\nnull\n\0\xff\n{"step": 2, "l')
  assert metrics.read(tmp_path) == [{"step": 1, "loss": 2.5}]


def window(rows, seen):
  return metrics.Window(rows, lambda step, row: seen.append(step))


def row(loss, skipped=0.0):
  return {"loss": jnp.float32(loss), "skipped": jnp.float32(skipped)}


def test_a_window_cut_by_a_checkpoint_has_the_same_mean():
  losses = np.random.default_rng(0).random(7)
  seen = []
  whole, first = window([], seen), window([], seen)
  for step, loss in enumerate(losses):
    whole.add(step, row(loss))
    if step < 3:
      first.add(step, row(loss))
  kept = json.loads(json.dumps(first.rows()))
  second = window(kept, seen)
  for step, loss in enumerate(losses[3:], 3):
    second.add(step, row(loss))
  assert second.close() == whole.close()
  assert sorted(seen) == sorted([*range(7), *range(7)])
  assert second.rows() == []


def test_skipped_steps_do_not_spoil_the_mean():
  seen = []
  w = window([], seen)
  for step, (loss, skipped) in enumerate([(1, 0), (np.nan, 1), (3, 0)]):
    w.add(step, row(loss, skipped))
  assert w.close() == {"loss": 2.0, "skipped": 1.0}
  w.add(3, row(np.inf, 1))
  assert w.close() == {"skipped": 1.0}
