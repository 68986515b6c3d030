"""Formats the results of a validation as Markdown."""

from collections.abc import Iterator
from typing import Any

# Smallest MFU, relative to the measured matmul rate, at batch 768 on one H200.
GATES = {"S": 0.30, "B": 0.42, "L": 0.50}

Results = dict[str, Any]


def markdown(results: Results) -> str:
  """Formats all results for RESULTS.md, including blocks that did not run."""
  return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
  yield f"## Validation on one {results['card'] or 'CPU (a rehearsal)'}"
  yield ""
  yield f"{results['date']}, " + ", ".join(
    f"{name} {version}" for name, version in results["versions"].items()
  )
  yield ""
  yield "| block | outcome | seconds |"
  yield "|---|---|---|"
  for block in results["blocks"]:
    yield f"| {block['name']} | {block['outcome']} | {block['seconds']:.0f} |"
  for block in results["blocks"]:
    found = block["results"]
    if not found:
      continue
    yield ""
    if block["name"].startswith("right"):
      yield from _right(block["name"], found)
    elif block["name"] == "fed":
      yield from _fed(found)
    elif block["name"] == "sure":
      yield from _sure(found)
    else:
      yield from _steps(found)


def _right(name: str, found: Results) -> Iterator[str]:
  yield f"### {name.capitalize()} (matmuls: {found['precision']})"
  yield ""
  yield "| check | worst error | limit | |"
  yield "|---|---|---|---|"
  for row in found["checks"]:
    verdict = "right" if row["ok"] else f"WRONG: {row['worst']}"
    yield (
      f"| {row['name']} | {row['error']:.1e} | {row['limit']:.0e} | {verdict} |"
    )


def _steps(found: list[Results]) -> Iterator[str]:
  for result in found:
    size = result["size"]
    yield (
      f"### {size}/16, {result['system']}, batch {result['batch']}, "
      f"{result['dtype']}, texts {result['texts']}"
    )
    yield ""
    yield (
      f"{result['flops'] / 1e12:.4g} TFLOP a step; the same run's matmul "
      f"{result['matmul_flops_per_second'] / 1e12:.4g} TFLOP/s; gate "
      f"{GATES[size]:.0%} on one H200 at batch 768"
    )
    yield ""
    yield (
      "| way | first loss | s a step | samples/s | MFU | compile s | peak GiB "
      "| library calls |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for way, row in result["ways"].items():
      program = result["programs"].get(way, {})
      memory = program.get("memory", {})
      peak = memory.get("peak_bytes") or memory.get("temporary_bytes", 0)
      calls = ", ".join(f"{n} {k}" for k, n in program.get("calls", {}).items())
      yield (
        f"| {way} | {row['first_loss']:.5f} | {row['seconds']:.4f} | "
        f"{row['samples_per_second']:,.0f} | {row['mfu']:.1%} | "
        f"{program.get('compile_seconds', 0):.0f} | {peak / 2**30:.1f} | "
        f"{calls} |"
      )
    yield ""


def _fed(found: Results) -> Iterator[str]:
  yield f"### Fed from JPEG shards, {found['cores']} cores"
  yield ""
  yield "| loader threads | samples/s |"
  yield "|---|---|"
  for threads, rate in found.get("loader", {}).items():
    yield f"| {threads} | {rate:,.0f} |"
  yield ""
  for name, value in found.get("training", {}).items():
    unit = "" if "/" in name else " samples/s"
    yield (
      f"- {name}: {value:,.3g}{unit}"
      if not unit
      else (f"- {name}: {value:,.0f}{unit}")
    )


def _sure(found: Results) -> Iterator[str]:
  yield "### Reproducible"
  yield ""
  for name in ("twice", "resumed"):
    if name in found:
      yield f"- {name}: {found[name] or 'the same, bit for bit'}"
  if "main_seconds" in found:
    yield (
      f"- main job: {found['main_seconds']:.0f} s, last loss "
      f"{found['main_loss']:.4f}, {found['main_results']}"
    )
