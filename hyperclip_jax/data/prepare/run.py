"""Prepares grounded data: converts several layouts to cleaned, indexed shards.

  hyperclip prepare --input 'raw/*.tar' --output prepared/
  hyperclip prepare --verify prepared/

Inputs are raw GRIT tars (with img2dataset's parquet files if these hold the
boxes), tars of images with texts, HyCoCLIP's processed tars and grounded JSONs,
read as in training; see `inputs`. Each makes one shard, in sorted order; its
content is described at `prepare_shard`. The rules:

- Boxes are fractions of the image as stored, and those of a JSON are pixels;
  `--boxes`, `--box_format` and `--upright` change this. An input whose boxes
  are clearly of another form is rejected.
- Boxes are clipped to the image; those that are not finite, inverted, or with a
  side below `--min_side` pixels of the image as found are dropped.
- Each distinct phrase makes one part, with its first good box. A phrase that is
  the whole caption is marked.
- Texts: see `texts.normalise`. Records without caption or with an image that
  cannot be decoded or has over 50 megapixels are left out, and so are later
  records of the same key within an input.
- Whatever is left out is counted by its reason.

A run may be killed at any time; the same command continues it. With
`--beam_args` an Apache Beam pipeline makes the same shards, see
`prepare.beam`.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.data.prepare import inputs, manifest, plan
from hyperclip_jax.data.prepare.inputs import Source
from hyperclip_jax.data.prepare.manifest import Options, Recipe, ShardResult
from hyperclip_jax.data.prepare.plan import Plan
from hyperclip_jax.data.prepare.shard import Job, prepare_shard


def run(plan: Plan, processes: int) -> list[ShardResult]:
  """Makes the shards of a plan on this machine; progress goes to stderr.

  Args:
    plan: shards to make.
    processes: number of worker processes.

  Returns:
    Results of these shards and of those made before.

  Raises:
    ValueError: an input is damaged, and none may be skipped.
    OSError: a file cannot be written, for example on a full disk.
    ModuleNotFoundError: an input needs pyarrow.
    RuntimeError: a worker process died.
  """
  results = list(plan.done)
  progress = _Progress(len(plan.jobs))
  try:
    for result in _results(plan, min(processes, len(plan.jobs))):
      results.append(result)
      progress.step(result)
  finally:
    progress.end()
  return results


def _results(plan: Plan, processes: int) -> Iterator[ShardResult]:
  """Yields the results in the order of completion."""
  if processes <= 1:
    yield from map(plan.make, plan.jobs)
    return
  with workers(processes) as pool:
    futures = submit(pool, plan.make, plan.jobs)
    for future in concurrent.futures.as_completed(futures):
      yield future.result()


@contextlib.contextmanager
def workers(processes: int) -> Iterator[ProcessPoolExecutor]:
  """Context manager of a pool of processes that end with this one.

  Args:
    processes: number of processes.

  Yields:
    Pool; if the block fails, its processes are stopped.

  Raises:
    RuntimeError: a process died.
  """
  # Not forked, because JAX, which the package imports, has threads.
  context = multiprocessing.get_context("spawn")
  others = set(multiprocessing.active_children())
  pool = ProcessPoolExecutor(processes, context, _start_worker)
  try:
    yield pool
    pool.shutdown()
  except BrokenProcessPool as error:
    raise RuntimeError(
      "a worker process died, probably out of memory: try fewer "
      f"--jobs than {processes}"
    ) from error
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
    for process in set(multiprocessing.active_children()) - others:
      process.terminate()
      process.join()


def submit(
  pool: ProcessPoolExecutor,
  function: Callable[[Any], Any],
  items: Iterable[Any],
) -> list[Future[Any]]:
  """Submits calls to a pool, so that Ctrl-C reaches only this process."""
  # Workers, which this may start, inherit the mask.
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
  try:
    return [pool.submit(function, item) for item in items]
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_worker() -> None:
  """Makes a worker end with its parent, even if that is killed."""
  parent = multiprocessing.parent_process()
  assert parent is not None

  def watch():
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


class _Progress:
  """Line of progress on stderr, redrawn on a terminal or every 10 seconds."""

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
    """Ends the line."""
    if self.terminal and self.done:
      print(file=sys.stderr)


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours} h {minutes:02d} min"
  return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def summary(folder: str, content: dict[str, Any]) -> str:
  """Summarises a manifest in a few lines.

  Args:
    folder: prepared folder.
    content: its manifest.

  Returns:
    Totals, and what was left out for which reason.
  """
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


def prepare(
  patterns: Sequence[str],
  folder: str,
  options: Options,
  *,
  images: str | None = None,
  skip_bad: bool = False,
  jobs: int = 1,
  beam_args: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Makes the shards of some inputs, except those that already exist.

  Args:
    patterns: paths or globs of tars and grounded JSONs.
    folder: output folder, which may be partly filled.
    options: options of every shard.
    images: folder of a JSON's images; None for that of the JSON.
    skip_bad: whether to leave out damaged inputs instead of raising.
    jobs: number of processes on this machine.
    beam_args: flags of Apache Beam, which then makes the shards; None for this
      machine.

  Returns:
    The manifest.

  Raises:
    ValueError, OSError, ModuleNotFoundError, RuntimeError: as in `run`, or
      inputs, options and folder do not fit together.
  """
  manifest.validate(options)
  sources = inputs.find(patterns, images, options.shard_size)
  return make(
    sources,
    folder,
    options,
    prepare_shard,
    skip_bad=skip_bad,
    jobs=jobs,
    beam_args=beam_args,
  )


def make(
  sources: Sequence[Source],
  folder: str,
  options: Recipe,
  function: Callable[[Job], ShardResult],
  *,
  skip_bad: bool,
  jobs: int,
  beam_args: Sequence[str] | None = None,
  worker: tuple[int, int] = (0, 1),
) -> dict[str, Any]:
  """Makes a folder of shards with a manifest, or continues it.

  Args:
    sources: inputs, by number of their shard.
    folder: output folder, which may be partly filled.
    options: options of every shard.
    function: makes a shard; it may run in another process.
    skip_bad: whether to leave out damaged inputs instead of raising.
    jobs: number of processes on this machine.
    beam_args: flags of Apache Beam, which then makes the shards; None for this
      machine.
    worker: number of this process and of all that share the work, on any
      machines with the same folder. The last to finish writes the manifest.

  Returns:
    The manifest; of several workers, that of the shards made so far.

  Raises:
    ValueError, OSError, ModuleNotFoundError, RuntimeError: as in `run`, or
      inputs, options and folder do not fit together.
  """
  number, count = worker
  alone = count == 1
  os.makedirs(folder, exist_ok=True)
  with files.lock(folder, shared=not alone):
    todo = plan.plan(sources, folder, options, function, skip_bad)
    if alone:
      manifest.clear(folder)  # safe only after the checks of `plan`
    own = [job for job in todo.jobs if job.number % count == number]
    todo = todo._replace(jobs=own)
    print(
      f"{len(own)} shards to make, {len(todo.done)} done before",
      file=sys.stderr,
    )
    if own:
      with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, manifest.MANIFEST))
    if beam_args is not None:
      from hyperclip_jax.data.prepare import beam

      return beam.run(todo, beam_args)
    try:
      results = run(todo, jobs)
    finally:
      if alone:
        manifest.clear(folder)  # left by workers that were stopped
    if not alone:
      described = list(map(inputs.describe, sources))
      results = manifest.finished(folder, options, described)
      if len(results) < len(sources):
        return manifest.content(options, results)
    return manifest.save(folder, options, results)
