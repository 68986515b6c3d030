"""Prepares grounded data: foreign layouts in, cleaned and indexed shards out.

  python -m hyperclip_jax.data.prepare --input 'raw/*.tar' --output prepared/
  python -m hyperclip_jax.data.prepare --verify prepared/

Inputs are raw GRIT tars (with img2dataset's parquets where these hold the
boxes), tars of images with texts, HyCoCLIP's processed tars and grounded JSONs,
read as training reads them; see `inputs`. Each makes one shard, in sorted
order; `prepare_shard` says what is in it. The rules:

- Boxes are read as fractions of the image as it is stored, those of a JSON as
  pixels; `--boxes`, `--box_format` and `--upright` say otherwise. An input
  whose boxes are clearly of another form is refused.
- Boxes are clipped to the image; those that are not finite, inverted, or short
  of `--min_side` pixels of the image as found on a side are dropped.
- One part for each distinct phrase: that of its first good box. A phrase that
  is the whole caption is marked.
- Texts: see `texts.normalise`. Records without caption or with an image that
  cannot be decoded or has over 50 megapixels are left out, and so are later
  records of a key within an input.
- Whatever is left out is counted by its reason.

A run may be killed at any time; the same command goes on where it was. With
`--beam_args` the same shards are made by an Apache Beam pipeline, see
`prepare_beam`.
"""

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.data.prepare import inputs, manifest, plan, verify
from hyperclip_jax.data.prepare.manifest import Options, ShardResult
from hyperclip_jax.data.prepare.plan import Plan
from hyperclip_jax.data.prepare.shard import Job, prepare_shard
from hyperclip_jax.data.records import box_forms


def run(plan: Plan, processes: int) -> dict[str, Any]:
  """Makes the shards of a plan on this machine; progress goes to stderr.

  Returns:
    The manifest.

  Raises:
    ValueError: an input is damaged, and none may be skipped.
    OSError: the disk is full, say.
    ModuleNotFoundError: an input needs pyarrow.
    RuntimeError: a worker process died.
    KeyboardInterrupt: the user had enough; the workers are gone.
  """
  results = list(plan.done)
  progress = _Progress(len(plan.jobs))
  try:
    for result in _results(plan.jobs, min(processes, len(plan.jobs))):
      results.append(result)
      progress.step(result)
  finally:
    progress.end()
    manifest.clear(plan.folder)  # of workers that were stopped
  return manifest.save(plan.folder, plan.options, results)


def _results(jobs: Sequence[Job], processes: int) -> Iterator[ShardResult]:
  """Yields the results in the order that they are done in."""
  if processes <= 1:
    yield from map(prepare_shard, jobs)
    return
  # Not forked: JAX, which the package imports, has threads.
  context = multiprocessing.get_context("spawn")
  others = set(multiprocessing.active_children())
  pool = concurrent.futures.ProcessPoolExecutor(
    processes, context, _start_worker
  )
  try:
    # Workers inherit the mask: Ctrl-C reaches only this process.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
      futures = [pool.submit(prepare_shard, job) for job in jobs]
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for future in concurrent.futures.as_completed(futures):
      yield future.result()
    pool.shutdown()
  except BrokenProcessPool as error:
    raise RuntimeError(
      "a worker process died, for want of memory as likely as not: try fewer "
      f"--jobs than {processes}"
    ) from error
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
    for process in set(multiprocessing.active_children()) - others:
      process.terminate()
      process.join()


def _start_worker() -> None:
  """Makes a worker end with its parent, even one that was killed."""
  parent = multiprocessing.parent_process()
  assert parent is not None

  def watch():
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


class _Progress:
  """A line on stderr: redrawn on a terminal, else every ten seconds."""

  def __init__(self, shards: int):
    self.shards = shards
    self.done = self.records = 0
    self.start = self.shown = time.monotonic()
    self.terminal = sys.stderr.isatty()

  def step(self, result: ShardResult) -> None:
    """Counts a shard."""
    self.done += 1
    self.records += result.records
    if result.skipped:
      print(f"skipped: {result.skipped}", file=sys.stderr)
    now = time.monotonic()
    last = self.done == self.shards
    if not (self.terminal or last or now - self.shown >= 10):
      return
    self.shown = now
    seconds = now - self.start
    left = _duration(seconds / self.done * (self.shards - self.done))
    line = (
      f"{self.done}/{self.shards} shards, {self.records:,} records, "
      f"{self.records / seconds:,.0f} records/s, {left} left"
    )
    if self.terminal:
      line = f"\r{line}\x1b[K"
    print(line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

  def end(self) -> None:
    """Leaves the line."""
    if self.terminal and self.done:
      print(file=sys.stderr)


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours} h {minutes:02d} min"
  return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def summary(folder: str, content: dict[str, Any]) -> str:
  """What a manifest says, in a few lines."""
  sums = content["totals"]
  skipped = f", {sums['skipped']} inputs skipped" if sums["skipped"] else ""
  lines = [
    f"{folder}: {sums['records']:,} records with {sums['parts']:,} parts in "
    f"{sums['shards']:,} shards of {sums['bytes'] / 1e6:,.1f} MB{skipped}"
  ]
  for name in ("records", "boxes"):
    rows = sums[f"rejected_{name}"].items()
    found = ", ".join(f"{count:,} {reason}" for reason, count in rows)
    lines.append(f"{name} left out: {found or 'none'}")
  return "\n".join(lines)


def _flags() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m hyperclip_jax.data.prepare",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  add, defaults = parser.add_argument, Options()
  add("--verify", metavar="FOLDER", help="check a prepared folder, and end")
  add("--input", nargs="+", help="tars and JSONs, or globs of them")
  add("--output", help="the folder to fill, or to go on filling")
  add("--images", help="folder of a JSON's images (default: of the JSON)")
  add("--crops", action="store_true", help="store a crop for each part, too")
  add("--require_boxes", action="store_true", help="drop records without parts")
  add(
    "--boxes",
    choices=box_forms.UNITS,
    default="",
    help="unit of the boxes (fractions; of a JSON's boxes, pixels)",
  )
  add(
    "--box_format",
    choices=(box_forms.CORNERS, box_forms.SIZES),
    default="",
    help="corners, or a corner and sides (xyxy; of a JSON's boxes, xywh)",
  )
  add(
    "--upright",
    action="store_true",
    help="turn images as EXIF says: boxes were measured on them so",
  )
  for name, text in {
    "min_side": "smallest side of a box in pixels",
    "long_side": "of the stored images in pixels",
    "quality": "of the JPEGs",
    "shard_size": "images of a JSON in a shard",
  }.items():
    default = getattr(defaults, name)
    add(f"--{name}", type=int, default=default, help=f"{text} ({default})")
  add("--on_bad_shard", choices=("fail", "skip"), default="fail")
  add("--jobs", type=int, help="processes (default: one a core)")
  add("--beam_args", help="make the shards with Beam: '--runner=... ...'")
  return parser


def main(argv: Sequence[str] | None = None) -> None:
  """Prepares or verifies; bad input ends in one message and exit code 1."""
  parser = _flags()
  flags = parser.parse_args(argv)
  jobs = flags.jobs or _cores()
  try:
    if flags.jobs is not None and flags.jobs < 1:
      parser.error(f"--jobs={flags.jobs}: want at least 1")
    if flags.verify is not None:
      if flags.input or flags.output:
        parser.error("--verify goes without --input and --output")
      sys.exit(_verify(flags.verify, jobs))
    if not flags.input or not flags.output:
      parser.error("give --input and --output, or --verify")
    options = Options(**{n: getattr(flags, n) for n in Options._fields})
    content = _prepare(flags, options, jobs)
  except KeyboardInterrupt:
    print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(130)
  except (ValueError, OSError, ImportError, RuntimeError) as error:
    sys.exit(f"error: {error}")
  print(summary(flags.output, content))
  if not content["totals"]["records"]:
    sys.exit("error: no input has a good record")
  if not content["totals"]["parts"]:
    print(
      "note: no record has a part; HyCoCLIP needs them, CLIP and MERU do not",
      file=sys.stderr,
    )


def _cores() -> int:
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # macOS
    return os.cpu_count() or 1


def _prepare(
  flags: argparse.Namespace, options: Options, jobs: int
) -> dict[str, Any]:
  manifest.validate(options)
  sources = inputs.find(flags.input, flags.images, options.shard_size)
  skip_bad = flags.on_bad_shard == "skip"
  os.makedirs(flags.output, exist_ok=True)
  with files.lock(flags.output):
    todo = plan.plan(sources, flags.output, options, skip_bad)
    print(
      f"{len(todo.jobs)} shards to make, {len(todo.done)} are there",
      file=sys.stderr,
    )
    if todo.jobs:
      with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(flags.output, manifest.MANIFEST))
    if flags.beam_args is None:
      return run(todo, jobs)
    from hyperclip_jax.data.prepare import beam

    return beam.run(todo, shlex.split(flags.beam_args))


def _verify(folder: str, jobs: int) -> int:
  problems = verify.verify(folder, jobs)
  for problem in problems:
    print(problem)
  if not problems:
    print(f"{folder}: every file is as its manifest says")
  return int(bool(problems))


if __name__ == "__main__":
  main()
