"""What a process writes beside its results."""

import subprocess
import sys

from tests.test_main import environment

CODE = """
import warnings
from hyperclip_jax import console
console.tell_warnings()
import hyperclip_jax
model = hyperclip_jax.load("emoji-mini")
for _ in range(2):
  model.index_texts(["word " * 40])
warnings.warn("of another")
"""


def test_own_warnings_are_told_once_and_without_code():
  done = subprocess.run(
    [sys.executable, "-c", CODE],
    env=environment(),
    capture_output=True,
    text=True,
    check=True,
  )
  first, *others = done.stderr.splitlines()
  assert first.startswith("note: 1 of 1 texts are longer than the 24 tokens")
  assert "UserWarning: of another" in "".join(others)
  assert "longer" not in "".join(others)
