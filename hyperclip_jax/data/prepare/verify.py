"""Verifies a prepared folder against its manifest."""

import concurrent.futures
import os
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.data.prepare import manifest
from hyperclip_jax.data.prepare.manifest import Options, Recipe, ShardResult
from hyperclip_jax.data.records import index, tars


def verify(folder: str, jobs: int, recipe: Any = Options) -> list[str]:
  """Checks a folder against its manifest.

  Args:
    folder: prepared folder, or one made by another `recipe`.
    jobs: number of threads.
    recipe: type of the folder's options.

  Returns:
    A line for each problem: a missing, changed or extra file, or wrong counts.
  """
  path = os.path.join(folder, manifest.MANIFEST)
  try:
    content = manifest.load(path, recipe)
    results = [manifest.from_json(row) for row in content["shards"]]
    options = recipe(**content["options"])
  except FileNotFoundError:
    return [f"{path}: missing; the run did not finish, run its command again"]
  except (ValueError, KeyError, TypeError) as error:
    reason = files.shown(repr(error))
    return [f"{path}: not a manifest of this version ({reason})"]
  problems = []
  if content.get("totals") != manifest.totals(results):
    problems.append(f"{path}: totals differ from the sums of its shards")
  expected = {manifest.MANIFEST}
  for result in results:
    if not result.skipped:
      tar = manifest.tar_name(result.number)
      expected |= {tar, tar + index.SUFFIX, manifest.json_name(result.number)}
  for name in sorted(set(os.listdir(folder)) - expected):
    stray = os.path.join(folder, files.shown(name))
    problems.append(f"{stray}: not in the manifest")
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for found in pool.map(lambda r: _check(folder, options, r), results):
      problems += found
  return problems


def _check(folder: str, options: Recipe, result: ShardResult) -> list[str]:
  if result.skipped:
    return []
  path = os.path.join(folder, manifest.tar_name(result.number))
  sidecar = os.path.join(folder, manifest.json_name(result.number))
  problems = []
  try:
    if manifest.load_result(sidecar, options) != result:
      problems.append(f"{sidecar}: differs from the manifest")
  except FileNotFoundError:
    problems.append(f"{sidecar}: missing")
  except ValueError as error:
    problems.append(str(error))
  try:
    size = os.path.getsize(path)
    if size != result.bytes:
      return [*problems, f"{path}: {size} bytes, not {result.bytes}"]
    sha256 = files.sha256(path)
    if sha256 != result.sha256:
      return [*problems, f"{path}: content has changed (sha256 {sha256})"]
    records = sum(1 for _ in tars.groups(path))
    if records != result.records:
      problems.append(f"{path}: {records} records, not {result.records}")
  except FileNotFoundError:
    problems.append(f"{path}: missing")
  except (OSError, ValueError) as error:
    problems.append(f"{path}: {error}")
  return problems
