"""Metrics of a run that was killed and goes on are those of one run."""

import json
import os
import pathlib
import resource
import struct
import sys
import tempfile
import time
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.training import boards, log, progress


def write(workdir, start, steps):
  with log.Writer(workdir, start) as writer:
    for step in steps:
      writer.write(step, {"loss": step / 10})


def test_rows_after_the_checkpoint_are_made_again(tmp_path):
  write(tmp_path, 0, [1, 2, 3, 4])
  path = tmp_path / log.FILE
  path.write_text(path.read_text() + '{"step": 5, "lo')  # killed there
  write(tmp_path, 2, [3])
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row["step"] for row in rows] == [1, 2, 3]


def test_a_last_row_without_its_end_is_dropped(tmp_path):
  path = tmp_path / log.FILE
  path.write_text('{"step": 1}\n{"step": 2}')
  write(tmp_path, 2, [3])
  assert [row["step"] for row in log.read(tmp_path)] == [1, 3]


def test_a_run_that_was_killed_can_be_read(tmp_path):
  path = tmp_path / log.FILE
  path.write_bytes(b'{"step": 1, "loss": 2.5}\nnull\n\0\xff\n{"step": 2, "l')
  assert log.read(tmp_path) == [{"step": 1, "loss": 2.5}]


def window(rows, seen):
  return progress.Window(rows, lambda step, row: seen.append(step))


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


def test_a_disk_that_fills_up_ends_the_run_with_one_message(tmp_path):
  """TensorBoard's file alone cannot grow: that error is told, too."""
  (tmp_path / log.FILE).symlink_to(os.devnull)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)

  def train():
    for step in range(1, 1_000):
      writer.write(step, {"loss": 1.0, "curv": 2.0})

  with log.Writer(tmp_path) as writer:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
      with pytest.raises(OSError, match=r"metrics of step \d\d .*too large"):
        train()
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_metrics_that_cannot_be_opened_are_named(tmp_path):
  (tmp_path / "tensorboard").touch()
  with pytest.raises(OSError, match="tensorboard"), log.Writer(tmp_path):
    pass


def events(workdir):
  """The events of each file, oldest first (TFRecord's framing)."""
  for path in sorted((workdir / "tensorboard").iterdir(), key=os.path.getmtime):
    data, found = path.read_bytes(), []
    while data:
      (size,) = struct.unpack("<Q", data[:8])
      found.append(boards._PROTO.Event.FromString(data[12 : 12 + size]))
      data = data[16 + size :]
    yield found


def test_tensorboard_hides_what_is_made_again(tmp_path, monkeypatch):
  write(tmp_path, 0, [1, 2, 3])
  monkeypatch.setattr(os, "getpid", lambda: 2)  # the same second, perhaps
  write(tmp_path, 1, [2, 3])
  first, second = events(tmp_path)
  values = [
    (event.step, value.tag, value.simple_value)
    for event in second
    for value in event.summary.value
  ]
  assert values == [(s, "loss/total", pytest.approx(s / 10)) for s in (2, 3)]
  starts = [e.step for e in second if e.HasField("session_log")]
  assert starts == [2]
  assert sum(len(event.summary.value) for event in first) == 3


@given(
  st.lists(st.binary(max_size=30), max_size=6),
  st.lists(st.integers(1, 9), max_size=9),
  st.integers(0, 10),
  st.integers(1, 40),
)
def test_cut_keeps_the_start_of_a_file(junk, steps, last, block):
  """All up to the last row of a step that counts, and nothing after it."""
  lines = [b'{"step": %d, "loss": 1.0}\n' % step for step in sorted(steps)]
  kept = [line for line in lines if int(line[9:10]) <= last]
  tail = b"".join(lines[len(kept) :]) + b"\n".join(junk)
  with (
    tempfile.TemporaryDirectory() as folder,
    pytest.MonkeyPatch.context() as m,
  ):
    m.setattr(log, "BLOCK", block)
    path = pathlib.Path(folder) / "rows"
    path.write_bytes(b"".join(kept) + tail)
    log.cut(path, last)
    assert path.read_bytes() == b"".join(kept)


def test_a_long_file_takes_little_to_cut_and_to_read(tmp_path):
  """100 MB: 40 MB in memory would be 400 for a gigabyte."""
  line = b'{"step": 1%06d, "loss": 1.5, "more": "' + b"x" * 960 + b'"}\n'
  path = tmp_path / log.FILE
  with path.open("wb") as file:
    for step in range(100_000):
      file.write(line % step)
  begin = time.monotonic()
  tracemalloc.start()
  log.cut(path, 1_099_000)
  assert time.monotonic() - begin < 1
  assert path.stat().st_size == 99_001 * len(line % 0)
  os.truncate(path, 20_000 * len(line % 0))
  rows = log.read(tmp_path, most=100)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 20 * 2**20
  assert 50 <= len(rows) <= 101
  steps = [row["step"] for row in rows]
  assert (steps[0], steps[-1]) == (1_000_000, 1_019_999)
  assert len(set(np.diff(steps[:-1]))) == 1


def test_rare_rows_are_kept_among_many(tmp_path):
  with log.Writer(tmp_path) as writer:
    for step in range(1, 1_001):
      writer.write(step, {"loss": 1.0})
      if step % 400 == 3:
        writer.write(step, {"eval/top1": step / 1_000})
  rows = log.read(tmp_path, most=10)
  assert len(rows) < 20
  found = [row["eval/top1"] for row in rows if "eval/top1" in row]
  assert found == [0.003, 0.403, 0.803]


class Trained:
  """Steps and seconds, as `Clock.trained` tells them."""

  def __init__(self):
    self.now: tuple[int, float] = (0, 0.0)

  def __call__(self):
    return self.now


def test_a_line_of_progress_fits_a_terminal(capsys):
  trained = Trained()
  printer = progress.Progress(500_000, 768, trained)
  values = {
    "loss": 12.34567,
    "contrastive_loss": 2.0,
    "learning_rate": 5e-4,
    "grad_norm": 0.0123456,
    "skipped": 0.0,
    "curv": 1.0,
  }
  trained.now = (50, 5.0)
  assert printer.report(50, values) == {"samples_per_second": 7680.0}
  trained.now = (100, 15.0)
  assert printer.report(100, values | {"loss": 6.0}) == {
    "samples_per_second": 3840.0
  }
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
    "    50/500000  loss 12.35  lr 5.0e-4  grad 0.0123  7,680 samples/s"
    "  eta 13h53",
    "   100/500000  loss 6  lr 5.0e-4  grad 0.0123  3,840 samples/s  eta 27h46",
  ]


def test_terms_follow_every_tenth_line_or_each(capsys):
  values = {"loss": 1.0, "part_contrastive_loss": 2.0, "skipped": 0.0}
  terms = "  average loss 1  part contrastive 2"
  for every, count in ((progress.TERMS, 2), (1, 20)):
    printer = progress.Progress(20, 8, Trained(), every)
    for step in range(1, 21):
      printer.report(step, values)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count(terms) == count
    assert lines[-1] == terms
    assert len(lines) == 20 + count
  printer.report(21, {"skipped": 3.0})  # a window of skipped steps alone
  assert "skipped 3" in capsys.readouterr().err


@given(
  st.dictionaries(
    st.sampled_from(["loss", "learning_rate", "grad_norm", "curv", "a_b_loss"])
    | st.text("abc_", min_size=1, max_size=40),
    st.floats(-1e38, 1e38, allow_subnormal=True),
  ),
  st.integers(1, 10**7),
  st.floats(1e-3, 1e6),
)
def test_no_line_of_progress_is_wider_than_a_terminal(values, step, seconds):
  trained, said = Trained(), []
  printer = progress.Progress(10**7, 32_768, trained, every=1)
  trained.now = (100, seconds)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(progress, "say", said.append)
    printer.report(step, values)
  lines = "\n".join(said).splitlines()
  assert max(map(len, lines)) <= 80


def test_compilation_is_no_training(capsys):
  """The one step of the first line says nothing of the speed."""
  trained = Trained()
  printer = progress.Progress(10, 8, trained)
  trained.now = (0, 0.5)
  assert printer.report(1, {"loss": 1.0}) == {}
  trained.now = (1, 1.0)
  assert printer.report(2, {"skipped": 1.0}) == {"samples_per_second": 16.0}
  assert capsys.readouterr().err.splitlines() == [
    " 1/10  loss 1",
    " 2/10  16 samples/s  eta 0:04",
    "  average loss 1  skipped 1",
  ]


def test_a_reader_that_goes_away_ends_nothing(monkeypatch):
  reader, writer = os.pipe()
  os.close(reader)
  with open(writer, "w", buffering=1) as stream:
    monkeypatch.setattr(sys, "stderr", stream)
    progress.say("nobody hears this")
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):  # still pending
      stream.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_rows_of_a_window_stay_as_they_were_when_asked_for():
  window = progress.Window([{"loss": 1.0, "skipped": 0.0}], lambda *_: None)
  saved = window.rows()  # which a checkpoint writes in the background
  window.add(2, {"loss": np.float32(3), "skipped": np.float32(0)})
  assert window.close()["loss"] == 2.0
  assert saved == [{"loss": 1.0, "skipped": 0.0}]
