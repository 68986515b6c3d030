"""A model is used without what only training needs."""

import json
import subprocess
import sys

import pytest

from hyperclip_jax import HyperCLIP
from tests import golden_files

HEAVY = {
  "apache_beam", "clu", "datasets", "faiss", "grain", "gradio", "matplotlib",
  "ml_collections", "optax", "orbax", "pandas", "pyarrow", "scipy", "sklearn",
  "tensorboard", "tensorboardX", "tensorflow", "torch", "transformers",
}  # fmt: skip
CODE = """
import json, sys

import hyperclip_jax

first = {name.partition(".")[0] for name in sys.modules}
model = hyperclip_jax.load(sys.argv[1])
model.classify(sys.argv[2], ["circle", "square"])
model.traverse(sys.argv[2], model.index_texts(["a circle", "a thing"]))
print(json.dumps([sorted(first), sorted({
  name.partition(".")[0] for name in sys.modules
})]))
"""


@pytest.mark.slow
def test_use_imports_nothing_of_training(tmp_path):
  from PIL import Image

  HyperCLIP(*golden_files.model("hycoclip")).save_pretrained(tmp_path / "model")
  Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
  command = [sys.executable, "-c", CODE, tmp_path / "model", tmp_path / "a.png"]
  done = subprocess.run(
    command, check=True, capture_output=True, text=True, timeout=300
  )
  first, all_of_it = map(set, json.loads(done.stdout))
  assert not first & (HEAVY | {"jax", "numpy", "flax", "PIL"})
  assert {"jax", "flax", "tokenizers"} <= all_of_it
  assert not all_of_it & HEAVY


@pytest.mark.slow
def test_training_imports_no_other_framework():
  """Even where they are installed: each would take seconds of every start."""
  code = "import sys, hyperclip_jax.commands.train; print(*sys.modules)"
  done = subprocess.run(
    [sys.executable, "-c", code],
    check=True,
    capture_output=True,
    text=True,
    timeout=300,
  )
  found = {name.partition(".")[0] for name in done.stdout.split()}
  others = {"torch", "tensorflow", "transformers", "datasets", "pandas"}
  assert {"tensorboardX", "orbax", "grain"} <= found
  assert not found & others
