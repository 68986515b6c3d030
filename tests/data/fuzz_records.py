"""Coverage-guided fuzzing of what reads outside records; not part of pytest.

  pip install atheris
  python tests/data/fuzz_records.py -runs=100000

Only `RecordError` may come out of a reader, and whatever it returns is sound.
"""

# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
import json
import math
import sys

import atheris

with atheris.instrument_imports(include=["hyperclip_jax.data"]):
  from hyperclip_jax.data.records import boxes, readers
  from hyperclip_jax.data.records.record import RecordError
  from hyperclip_jax.data.records.sample import Reading

RAW = {
  "caption": "a red ball on a table",
  "noun_chunks": [[0.0, 10.0, 0.1, 0.1, 0.9, 0.9, 0.9]],
  "ref_exps": [[0.0, 21.0, 0.0, 0.0, 1.0, 1.0, 0.9]],
  "width": 640,
  "height": 480,
}
PREPARED = {
  "key": "k",
  "caption": "a red ball",
  "parts": [{"text": "a ball", "box": [0.1, 0.2, 0.8, 0.9]}],
  "meta": {},
}
ODD = ["", "\ud800", None, math.nan, -1, 1e308, 2**70, [], {}, True, "\x00"]


def _mutated(data: atheris.FuzzedDataProvider, value):
  """A copy in which some leaves or branches are odd values."""
  if data.ConsumeIntInRange(0, 9) == 0:
    if data.ConsumeBool():
      return data.PickValueInList(ODD)
    return data.ConsumeRegularFloat()
  if isinstance(value, dict):
    return {key: _mutated(data, inner) for key, inner in value.items()}
  if isinstance(value, list):
    inner = [_mutated(data, item) for item in value]
    return inner * data.ConsumeIntInRange(0, 2) if inner else inner
  return value


def _json(data: atheris.FuzzedDataProvider, value) -> bytes:
  if data.ConsumeIntInRange(0, 4) == 0:
    return data.ConsumeBytes(200)
  return json.dumps(_mutated(data, value)).encode()


def test_one_input(given: bytes) -> None:
  """One record of one layout, and one box."""
  data = atheris.FuzzedDataProvider(given)
  box = [data.ConsumeFloat() for _ in range(4)]
  size = [abs(data.ConsumeFloat()) for _ in range(2)]
  cleaned = boxes.clean(box, size[0], size[1], 8)
  assert cleaned is None or boxes.fault(cleaned, size[0], size[1], 8) is None
  layout = data.ConsumeIntInRange(0, 2)
  if layout == 0:
    contents = {"jpg": b"x", "json": _json(data, RAW)}
    read = readers.raw
  elif layout == 1:
    contents = {"jpg": b"x", "parts.json": _json(data, PREPARED)}
    read = readers.prepared
  else:
    contents = {
      "child.jpg": b"x",
      "child.txt": data.ConsumeBytes(20),
      "numparents.txt": data.PickValueInList([b"1", b"2", b"-1", b"\xff"]),
      "parent000.jpg": b"y",
      "parent000.txt": data.ConsumeBytes(20),
    }
    read = readers.processed
  try:
    found = cleaned(read("a.tar", "k", contents), "a.tar", Reading(8))
  except RecordError:
    return
  assert found.caption.strip()
  for part in found.parts:
    assert part.text
    x1, y1, x2, y2 = part.box
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1
  found.caption.encode()


if __name__ == "__main__":
  atheris.Setup(sys.argv, test_one_input)
  atheris.Fuzz()
