"""The command ground: finds boxes for the phrases of captions."""

import argparse
import contextlib
import functools
import re
import shlex
import sys
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.commands.door import fail
from hyperclip_jax.commands.prepare import cores, verified
from hyperclip_jax.data.ground import run, text
from hyperclip_jax.data.ground.options import Options
from hyperclip_jax.data.prepare import run as prepare_run
from hyperclip_jax.reports import review


def ground(values: argparse.Namespace) -> int:
  """Grounds pairs, or verifies a folder."""
  needed = ("input", "output", "detector", "spacy_model")
  missing = [name for name in needed if not getattr(values, name)]
  try:
    if values.verify is not None:
      if len(missing) < len(needed):
        raise ValueError("--verify goes without --input and the like")
      return verified(str(values.verify), cores(), Options)
    if missing:
      flags = ", ".join(f"--{name}" for name in missing)
      raise ValueError(f"give {flags}, or --verify")
    worker = _worker(values.worker)
    made = _ground(values, worker)
    print(prepare_run.summary(str(values.output), made))
    records = made["totals"]["records"]
    if values.review and records:
      page = f"{str(values.output).rstrip('/')}-review.html"
      count = review.write([str(values.output)], page, values.review)
      print(f"{page}: {count} boxes to mark as right or wrong")
  except (ValueError, OSError, ImportError, RuntimeError) as error:
    fail(error)
  if not records and worker[1] == 1:
    fail("no input has a record with a box above the threshold")
  return 0


def _ground(values: argparse.Namespace, worker: tuple[int, int]) -> Any:
  settings = run.Settings(
    values.detector,
    values.spacy_model,
    str(values.abstract or text.ABSTRACT),
    values.device or _device(worker),
    values.batch_size,
    values.tokens,
  )
  options = run.resolved(
    settings,
    Options(
      threshold=-1.0 if values.threshold is None else values.threshold,
      nms_iou=values.nms_iou,
      min_side=values.min_side,
      drop_contained=values.drop_contained,
      shard_size=values.shard_size,
    ),
  )
  print(
    f"{files.shown(options.detector)}: boxes above {options.threshold:g}; "
    f"captions by {files.shown(options.parser)}",
    file=sys.stderr,
  )
  jobs = values.jobs or max(1, cores() // worker[1] - 1)
  beam = values.beam_args and shlex.split(values.beam_args)
  pool = (
    contextlib.nullcontext(functools.partial(run.load, settings))
    if beam
    else run.pooled(settings, jobs)
  )
  with pool as tools:
    return run.ground(
      values.input,
      str(values.output),
      options,
      tools,
      images=values.images and str(values.images),
      skip_bad=values.on_bad_shard == "skip",
      worker=worker,
      beam_args=beam,
    )


def _worker(value: str) -> tuple[int, int]:
  """Parses "i/n": worker i of n, counted from 0."""
  match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", value)
  number, count = map(int, match.groups()) if match else (0, 0)
  if not number < count:
    raise ValueError(
      f"--worker={files.shown(value)}: want I/N, from 0/{count or 'N'} on"
    )
  return number, count


def _device(worker: tuple[int, int]) -> str:
  """Gives each worker of a machine its own GPU, in turn."""
  if worker[1] == 1:
    return ""
  import torch

  count = torch.cuda.device_count()
  return f"cuda:{worker[0] % count}" if count else ""
