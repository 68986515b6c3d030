"""The command embed: embeds a hierarchy, such as WordNet's nouns."""

import argparse
import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperclip_jax import console, files, sections
from hyperclip_jax.commands.door import fail
from hyperclip_jax.reports import trees as report
from hyperclip_jax.training import config_tree
from hyperclip_jax.trees import closure as closure_lib
from hyperclip_jax.trees import embed as embed_lib
from hyperclip_jax.trees import measures, saved
from hyperclip_jax.trees.closure import Closure
from hyperclip_jax.trees.energy import energy
from hyperclip_jax.trees.options import Options

HISTORY = "metrics.json"


def embed(options: argparse.Namespace) -> None:
  """Embeds a hierarchy, or goes on with it, and writes the report."""
  try:
    config = config_tree.load(options.config)
    config_tree.override(config, options.overrides)
    o = sections.build(Options, config)
    workdir: pathlib.Path = options.workdir
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock(workdir):
      _embed(o, workdir)
  except (ValueError, OSError) as error:
    fail(error)


def _embed(o: Options, workdir: pathlib.Path) -> None:
  parents = (
    closure_lib.read_edges(o.edges) if o.edges else closure_lib.nouns(o.wordnet)
  )
  closure = closure_lib.closure(parents, o.root, o.left_out)
  names, pairs = len(closure.names), len(closure.pairs)
  before = saved.resumed(workdir, o, closure.names)
  table, done = embed_lib.start(o, names), 0
  history: list[dict[str, Any]] = []
  if before is not None:
    table, done = jnp.asarray(before.table), before.epochs
    history = [row for row in _read(workdir / HISTORY) if row["step"] <= done]
  console.say(
    f"{names:,} nodes, {pairs:,} pairs, epochs {done + 1:,} to {o.epochs:,}"
  )
  if o.epochs < o.burn_in + o.ramp:
    console.say(
      f"note: the rate reaches {o.learning_rate:g} after {o.burn_in + o.ramp} "
      "epochs: take more, or lower config.burn_in or config.ramp"
    )
  for row, epoch in _rows(o, closure, table, done):
    history.append(row)
    saved.save(workdir, o, closure.names, epoch)
    files.write_whole(workdir / HISTORY, json.dumps(history) + "\n")
  found = saved.load(workdir)
  final = measures.reconstruction(energy(o), jnp.asarray(found.table), closure)
  files.write_whole(
    workdir / "results.json", json.dumps(final, indent=2) + "\n"
  )
  path = workdir / "report.html"
  report.write_report(path, found, closure, final, history)
  console.say(f"{_shown(final)}; see {path}")


def _rows(
  o: Options, closure: Closure, table: embed_lib.Table, done: int
) -> Iterator[tuple[dict[str, Any], embed_lib.Epoch]]:
  """Yields measures and the state, every `eval_every` epochs and at the end."""
  e, nodes = energy(o), None
  if o.eval_nodes:
    count = len(closure.names)
    few = min(o.eval_nodes, count)
    nodes = np.linspace(0, count - 1, few).astype(int)
  since, last = time.perf_counter(), done
  for epoch in embed_lib.epochs(o, closure, table, done):
    if epoch.number % o.eval_every and epoch.number != o.epochs:
      continue
    seconds = (time.perf_counter() - since) / (epoch.number - last)
    found = measures.reconstruction(e, epoch.table, closure, nodes)
    row = {"step": epoch.number, "loss": epoch.loss, "seconds": seconds}
    console.say(
      f"epoch {epoch.number:,}  loss {epoch.loss:.4f}  {_shown(found)}  "
      f"{seconds:.3f} s an epoch"
    )
    yield row | found, epoch
    since, last = time.perf_counter(), epoch.number


def _shown(found: Mapping[str, float]) -> str:
  return f"MAP {found['map']:.4f}  mean rank {found['mean_rank']:.3f}"


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
  return files.read_json(path) if path.exists() else []
