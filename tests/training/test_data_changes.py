"""A run goes on with the data it was trained on, as do all its processes."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading

import jax
import pytest

from hyperclip_jax.data.records import identity
from hyperclip_jax.data.records.identity import DataChangedError, Shard
from hyperclip_jax.training import log, runs, same_data, train
from hyperclip_jax.training import sources as sources_lib
from tests import small
from tests.data.tars import raw_members, write_tar

pytestmark = pytest.mark.usefixtures("standard_promotion")


def write(folder, numbers, first=0):
  """Shards of four records each, named by their numbers."""
  folder.mkdir(exist_ok=True)
  for number in numbers:
    keys = [f"{first + number}{i}" for i in range(4)]
    members = [m for key in keys for m in raw_members(key, int(key))]
    write_tar(folder / f"{number}.tar", members)
  return folder


def config_of(shards, **changes):
  config = small.config("clip")
  del config.shapes
  config.data.held_out = ""
  config.batch_size = 8
  config.data.shards = str(shards)
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture
def data(tmp_path):
  return write(tmp_path / "data", range(4))


def trained(config, workdir):
  """The meta of a checkpoint after 24 examples, in a workdir that has it."""
  run = runs.prepare(config, workdir)
  (workdir / "checkpoints" / "3").mkdir(parents=True)
  same_data.remember(run.sources, run.workdir)
  digest = identity.digest([source.shards for source in run.sources])
  return {"examples_seen": 24, "data": digest}


def check(run, meta):
  allowed = run.config.checkpoint.allow_data_change
  same_data.check(run.sources, run.workdir, meta, allowed)


def added(data):
  write(data, [4])


def removed(data):
  (data / "0.tar").unlink()


def renamed(data):
  (data / "0.tar").rename(data / "9.tar")


def replaced(data):
  size = (data / "1.tar").stat().st_size
  write(data, [1], first=5)
  assert (data / "1.tar").stat().st_size == size


def shorter(data):
  write_tar(data / "2.tar", raw_members("20"))


def swapped(data):
  for old, new in (("0", "x"), ("1", "0"), ("x", "1")):
    (data / f"{old}.tar").rename(data / f"{new}.tar")


@pytest.mark.parametrize(
  ("change", "lines"),
  [
    (added, ["4.tar is new"]),
    (removed, ["0.tar is missing"]),
    (renamed, ["0.tar was renamed to 9.tar"]),
    (replaced, ["1.tar has different content, still 4 records"]),
    (shorter, ["2.tar has 1 records, before 4"]),
    (
      swapped,
      [f"{i}.tar has different content, still 4 records" for i in "01"],
    ),
  ],
)
def test_other_data_are_refused_or_allowed(
  change, lines, data, tmp_path, caplog
):
  meta = trained(config_of(data), tmp_path / "run")
  run = runs.prepare(config_of(data), tmp_path / "run")
  check(run, meta)
  change(data)
  run = runs.prepare(config_of(data), tmp_path / "run")
  with pytest.raises(DataChangedError, match="allow_data_change") as caught:
    check(run, meta)
  assert str(caught.value).splitlines()[1:-1] == [f"  {line}" for line in lines]
  assert "from example 24 on" in str(caught.value)
  run.config.checkpoint.allow_data_change = True
  with caplog.at_level(logging.WARNING):
    check(run, meta)
  assert "the data have changed from example 24 on" in caplog.text
  assert lines[0] in caplog.text
  # What is remembered of the new data does not hide the old.
  same_data.remember(run.sources, run.workdir)
  run.config.checkpoint.allow_data_change = False
  with pytest.raises(DataChangedError, match=lines[0]):
    check(run, meta)


def test_data_may_move_and_checkpoints_may_be_old(data, tmp_path):
  meta = trained(config_of(data), tmp_path / "run")
  moved = tmp_path / "elsewhere"
  data.rename(moved)
  config = config_of(f"{moved}/{{0..3}}.tar")
  run = runs.prepare(config, tmp_path / "run")
  check(run, meta)
  check(run, {"examples_seen": 24})
  (tmp_path / "run" / identity.FILE).unlink()
  check(run, meta)
  with pytest.raises(DataChangedError, match="the changes are unknown"):
    check(run, meta | {"data": "another"})


def test_sources_in_another_order_are_refused(data, tmp_path):
  write(tmp_path / "more", range(4), first=5)

  def config(*folders):
    both = ", ".join(map(str, folders))
    return config_of(both, **{"data.weights": (1.0, 2.0)})

  more = tmp_path / "more"
  meta = trained(config(data, more), tmp_path / "run")
  run = runs.prepare(config(more, data), tmp_path / "run")
  with pytest.raises(DataChangedError, match=r"source 0: 0.tar has different"):
    check(run, meta)


def test_what_was_left_out_stays_so(data, tmp_path):
  whole = (data / "1.tar").read_bytes()
  (data / "1.tar").write_bytes(whole[:700])
  config = config_of(data, **{"data.on_bad_shard": "skip"})
  meta = trained(config, tmp_path / "run")
  # It was mended meanwhile: its records would renumber all others.
  (data / "1.tar").write_bytes(whole)
  run = runs.prepare(config, tmp_path / "run")
  assert len(run.sources[0]) == 12
  check(run, meta)
  # Another cannot be read now: nothing is renumbered in silence either.
  (data / "2.tar").unlink()
  (data / "2.tar").symlink_to("nowhere")
  run = runs.prepare(config, tmp_path / "run")
  with pytest.raises(DataChangedError, match=r"2.tar is missing: .*No such"):
    check(run, meta)
  config.checkpoint.allow_data_change = True
  assert len(sources_lib.training(config, tmp_path / "run")[0]) == 12
  shutil.rmtree(tmp_path / "run" / "checkpoints")  # it starts from scratch
  config.checkpoint.allow_data_change = False
  assert len(sources_lib.training(config, tmp_path / "run")[0]) == 12
  assert "1.tar" not in sources_lib.training(config)[0].left_out


def test_a_damaged_history_is_named(data, tmp_path):
  config = config_of(data)
  trained(config, tmp_path)
  for text in ("{", "[]", '{"a": 1}', '{"a": {"sources": [[1]]}}'):
    (tmp_path / identity.FILE).write_text(text)
    with pytest.raises(ValueError, match=r"data\.json: not"):
      runs.prepare(config, tmp_path)


def test_names_of_shards_do_not_depend_on_where_they_lie():
  assert identity.names(["/a/0.tar", "/a/1.tar"]) == ["0.tar", "1.tar"]
  assert identity.names(["b/0.tar", "/a/1.tar"]) == ["0.tar", "1.tar"]
  for root in ("/x", "/y/z"):
    found = identity.names([f"{root}/a/0.tar", f"{root}/b/0.tar"])
    assert found == ["a/0.tar", "b/0.tar"]


def test_differences_are_listed_up_to_a_number():
  before = [[Shard(f"{i}\x1b", 1, i) for i in range(20)]]
  (*lines, last) = identity.differences(before, [[]])
  assert lines == [f"{i}\\x1b is missing" for i in range(8)]
  assert last == "and 12 more"
  assert identity.differences(before, before) == []
  turned = [before[0][::-1]]
  assert identity.differences(before, turned) == [
    "the order of the shards has changed"
  ]
  assert identity.differences(before, before * 2) == [
    "there are 2 sources of shards, before 1"
  ]


def test_a_resumed_run_counts_bad_records_as_an_unbroken_one(data, tmp_path):
  """And the checkpoint knows its data, which then change."""
  members = [m for i in range(9) for m in raw_members(f"4{i}", i)]
  spoiled = [
    (n, b"no jpeg" if n[:2] in ("42", "45") else d) for n, d in members
  ]
  write_tar(data / "4.tar", spoiled)
  config = config_of(data, **{"data.max_bad": 1.0, "steps": 6})
  train.train(runs.prepare(config, tmp_path / "run"))
  unbroken = [row["bad_records"] for row in log.read(tmp_path / "run")]
  assert unbroken == sorted(unbroken)
  assert unbroken[3] < unbroken[5]
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
  train.train(runs.prepare(config, tmp_path / "run"))
  resumed = [row["bad_records"] for row in log.read(tmp_path / "run")]
  assert resumed == unbroken
  removed(data)
  with pytest.raises(DataChangedError, match=r"0\.tar is missing"):
    train.train(runs.prepare(config, tmp_path / "run"))


class Meeting:
  """What threads that play processes say to each other, in turns."""

  def __init__(self, count):
    self.texts = {}
    self.barrier = threading.Barrier(count)

  def gather(self, number, text):
    self.texts[number] = text
    self.barrier.wait(60)
    found = [self.texts[i] for i in sorted(self.texts)]
    self.barrier.wait(60)
    return found


def together(monkeypatch, *configs):
  """What each process of a run opens, or how it fails."""
  meeting, place, found = Meeting(len(configs)), threading.local(), {}
  monkeypatch.setattr(jax, "process_count", lambda: len(configs))
  monkeypatch.setattr(
    same_data, "_gather", lambda text: meeting.gather(place.number, text)
  )

  def process(number):
    place.number = number
    try:
      sources = sources_lib.training(configs[number])
      found[number] = same_data.agreed(sources)
    except Exception as error:
      found[number] = error

  threads = [
    threading.Thread(target=process, args=(i,)) for i in range(len(configs))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return [found[i] for i in range(len(configs))]


def test_processes_leave_out_what_one_cannot_read(tmp_path, monkeypatch):
  folders = [write(tmp_path / name, range(4)) for name in "abc"]
  for folder, number in zip(folders[1:], (0, 2), strict=True):
    path = folder / f"{number}.tar"
    path.write_bytes(path.read_bytes()[:700])
  skip = {"data.on_bad_shard": "skip"}
  configs = [config_of(folder, **skip) for folder in folders]
  for (source,) in together(monkeypatch, *configs):
    assert [shard.name for shard in source.shards] == ["1.tar", "3.tar"]
    assert sorted(source.left_out) == ["0.tar", "2.tar"]
    assert [source[i].key for i in range(8)] == [
      f"{shard}{i}" for shard in (1, 3) for i in range(4)
    ]


@pytest.mark.parametrize(
  ("change", "line"),
  [
    (renamed, "process 1, compared with process 0: 0.tar was renamed to 9.tar"),
    (
      replaced,
      "process 1, compared with process 0: 1.tar has different content",
    ),
    (
      shorter,
      "process 1, compared with process 0: 2.tar has 1 records, before 4",
    ),
  ],
)
def test_processes_with_other_data_are_refused(
  change, line, tmp_path, monkeypatch
):
  folders = [write(tmp_path / name, range(4)) for name in "ab"]
  change(folders[1])
  for found in together(monkeypatch, *map(config_of, folders)):
    assert isinstance(found, ValueError)
    assert "the processes found different data" in str(found)
    assert line in str(found)


PROCESS = """
import json, sys
import jax
number, address, *folders = sys.argv[1:]
jax.distributed.initialize(address, 2, int(number))
from hyperclip_jax.training import same_data, sources
from tests.training.test_data_changes import config_of
config = config_of(folders[int(number)], **{"data.on_bad_shard": "skip"})
found = same_data.agreed(sources.training(config))
print(json.dumps([shard.name for shard in found[0].shards]))
"""


@pytest.mark.slow
def test_two_real_processes_agree(tmp_path):
  folders = [write(tmp_path / name, range(30)) for name in "ab"]
  (folders[0] / "7.tar").write_bytes(b"no tar")
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    address = f"localhost:{sock.getsockname()[1]}"
  command = [sys.executable, "-c", PROCESS]
  processes = [
    subprocess.Popen(
      [*command, str(i), address, *map(str, folders)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=os.environ | {"XLA_FLAGS": ""},
      text=True,
    )
    for i in range(2)
  ]
  outs = [process.communicate(timeout=200) for process in processes]
  wanted = sorted(f"{i}.tar" for i in range(30) if i != 7)
  for out, err in outs:
    assert out, err
    assert json.loads(out.splitlines()[-1]) == wanted
