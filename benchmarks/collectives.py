"""Sums what an XLA program sends between devices, from its text."""

import math
import re
from collections import Counter

SIZES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}  # else 1
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
COLLECTIVE = re.compile(rf" = (\(*\w+\[.*?) ({KINDS})(-start)?\(")
CHANNEL = re.compile(r"channel_id=(\d+).*chain_id=")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
CALLED = re.compile(r"(?:body|calls|to_apply|computation)=%?([\w.-]+)")
CONDITION = re.compile(r"condition=%?([\w.-]+)")
TRIPS = re.compile(r"known_trip_count\D*(\d+)")
CONSTANT = re.compile(r" s32\[\]\S* constant\((\d+)\)")


def collectives(program: str, devices: int) -> Counter[str]:
  """Sums the bytes of each kind of collective in one run of an XLA program.

  The bytes are those of the whole result, or for a reduce-scatter of the whole
  input. Collectives in a loop count as often as the loop runs.

  Args:
    program: text of the compiled program.
    devices: number of devices of the program.

  Returns:
    Bytes by kind of collective.

  Raises:
    ValueError: the number of iterations of a loop is unknown.
  """
  bodies: dict[str, list[str]] = {}
  entry = ""
  for line in program.splitlines():
    if head := COMPUTATION.match(line):
      body = bodies[head[2]] = []
      entry = head[2] if head[1] else entry
    elif bodies:
      body.append(line)

  def trips(loop: str) -> int:
    if known := TRIPS.search(loop):
      return int(known[1])
    (condition,) = CONDITION.findall(loop)
    bounds = CONSTANT.findall("\n".join(bodies[condition]))
    if len(bounds) != 1:
      raise ValueError(f"unknown number of iterations: {loop.strip()[:200]}")
    return int(bounds[0])

  sent: dict[str, tuple[str, int]] = {}

  def visit(name: str, times: int) -> None:
    for line in bodies[name]:
      if found := COLLECTIVE.search(line):
        kind = found[2]
        size = times * _bytes(found[1], kind, bool(found[3]), devices)
        if name.startswith(
          "all-reduce-scatter"
        ):  # name of a reduce-scatter on TPUs
          kind = "reduce-scatter"
        # on TPUs it is spread over several fusions, some of which are in a loop
        chained = CHANNEL.search(line)
        channel = chained[1] if chained else f"unchained {len(sent)}"
        sent[channel] = kind, min(size, sent.get(channel, (kind, size))[1])
      elif called := CALLED.findall(line):
        for callee in called:
          visit(callee, times * (trips(line) if " while(" in line else 1))

  visit(entry, 1)
  total: Counter[str] = Counter()
  for kind, size in sent.values():
    total[kind] += size
  return total


def _bytes(shapes: str, kind: str, started: bool, devices: int) -> int:
  """Returns the bytes of a collective's whole result."""
  sizes = [
    SIZES.get(dtype, 1) * math.prod(int(d) for d in dims.split(",") if d)
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    if (dtype, dims) != ("u32", "")  # bookkeeping of a permute
  ]
  if started and kind != "all-reduce":  # (inputs, outputs)
    half = len(sizes) // 2
    return max(sum(sizes[:half]), sum(sizes[half:]))
  return sum(sizes) * (devices if kind == "reduce-scatter" else 1)
