"""Reports how prepared shards were made, from their manifest."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from hyperclip_jax.data.ground.options import Options as GroundOptions
from hyperclip_jax.data.prepare.manifest import MANIFEST, Options
from hyperclip_jax.reports.markup import Markup, counts, note, shortened, tag

FORMATS = (Options.FORMAT, GroundOptions.FORMAT)
LARGEST = 256 << 20  # largest manifest in bytes


def sections(paths: Sequence[str]) -> list[Markup]:
  """Reports the manifests beside shards; empty if there are none.

  A manifest that cannot be read, or is another program's, is only named.
  """
  folders = sorted({os.path.dirname(path) or "." for path in paths})
  found = []
  for folder in folders:
    path = pathlib.Path(folder) / MANIFEST
    if not path.is_file():
      continue
    if len(folders) > 1:
      found.append(tag("h3", folder))
    try:
      found += _shown(_read(path))
    except (OSError, ValueError, RecursionError) as error:
      found.append(note(f"{path} was left out: {error}"))
  return found


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a manifest; raises ValueError if it is not of prepared shards."""
  size = path.stat().st_size
  if size > LARGEST:
    raise ValueError(f"it has {size:,} bytes, more than {LARGEST:,}")
  content = json.loads(path.read_bytes())
  if not isinstance(content, dict) or content.get("format") not in FORMATS:
    raise ValueError("it is not the manifest of prepared shards")
  return content


def _shown(manifest: dict[str, Any]) -> list[Markup]:
  totals = manifest.get("totals")
  totals = totals if isinstance(totals, dict) else {}
  shown = [
    note("From the manifest beside the shards, on all that was prepared."),
    _table(totals),
  ]
  for name, reasons in totals.items():
    if isinstance(reasons, dict):
      shown.append(tag("h3", f"{_words(name)}, by reason"))
      shown.append(_table(reasons) if reasons else note("None."))
  options = json.dumps(manifest.get("options"), indent=1, sort_keys=True)
  shown.append(tag("details", tag("summary", "Options"), tag("pre", options)))
  return shown


def _table(numbers: dict[str, Any]) -> Markup:
  """Makes a table of the values that are whole numbers."""
  return counts(
    {_words(k): f"{n:,}" for k, n in numbers.items() if type(n) is int}
  )


def _words(name: str) -> str:
  return shortened(name.replace("_", " ").capitalize())
