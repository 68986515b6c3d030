"""A trace covers the steps that were asked for."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from hyperclip_jax.training.trace import Trace


@pytest.mark.parametrize("stop", [4, 2])
def test_trace_opens_and_holds_its_steps(tmp_path, stop):
  """Steps 2 and 3 of 4, or step 2 of a run that ends there."""
  square = jax.jit(lambda x: x @ x)
  x = jnp.ones((4, 4))
  with Trace(tmp_path, first=2, steps=2) as trace:
    for step in range(1, stop + 1):
      trace.at(step, x)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        x = square(x)
  assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))  # TensorBoard
  (path,) = tmp_path.glob("plugins/profile/*/*.trace.json.gz")  # Perfetto
  events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
  steps = {e["args"]["step_num"] for e in events if e.get("name") == "train"}
  assert steps == {str(step) for step in (2, 3) if step <= stop}
  # No events of Python's own functions, whose names begin with the file's.
  assert not [e for e in events if e.get("name", "").startswith("$")]


def test_no_trace_is_written_unless_asked_for(tmp_path):
  with Trace(tmp_path, first=0, steps=2) as trace:
    for step in range(1, 4):
      trace.at(step, ())
  assert not list(tmp_path.iterdir())
