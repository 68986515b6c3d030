"""The notebooks run top to bottom, and are kept without what they print."""

import json
import os
import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

from hyperclip_jax.data.emoji import font

REPOSITORY = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "colab").glob("*.ipynb"))
TRAINING, DIGITS = "train_on_shapes", "hyperbolic_digits"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_clean(path):
  content = path.read_text(encoding="utf-8")
  cells = json.loads(content)["cells"]
  assert not any(cell.get("outputs") for cell in cells)
  assert not any(cell.get("execution_count") for cell in cells)
  assert not re.search(
    r"(?<![\w.])/(home|Users|opt|root|tmp|work|mnt)/", content
  )
  assert "OWNER" not in content  # No address to fill in.
  assert cells[0]["source"][0].startswith("# ")  # Begins with its title.
  assert '"google.colab" in sys.modules' in "".join(cells[1]["source"])


def run(name, folder):
  """Executes a notebook with few steps and scenes, all in a folder."""
  notebook = nbformat.read(REPOSITORY / "colab" / f"{name}.ipynb", 4)
  # Not the strictness of the tests: users have none.
  environment = {k: v for k, v in os.environ.items() if "JAX_NUMPY" not in k}
  environment |= {
    "HYPERCLIP_WORKDIR": str(folder / "run"),
    "HYPERCLIP_DATA": str(folder / "shapes"),
    "HYPERCLIP_STEPS": "10",
    "HYPERCLIP_SCENES": "256",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "",
  }
  client = NotebookClient(
    notebook,
    timeout=600,
    kernel_name="python3",
    resources={"metadata": {"path": str(REPOSITORY)}},
  )
  return client.execute(env=environment)


def plots_of(notebook):
  return sum(
    "image/png" in output.get("data", {})
    for cell in notebook.cells
    for output in cell.get("outputs", ())
  )


@pytest.mark.slow
def test_training(tmp_path):
  notebook = run(TRAINING, tmp_path)
  assert (tmp_path / "run" / "report.html").exists()
  assert plots_of(notebook) == 3


@pytest.mark.slow
@pytest.mark.skipif(not font.fonts(), reason="needs a colour font of emoji")
@pytest.mark.parametrize(
  ("name", "plots"), [("concept_hierarchy", 3), ("zero_shot_and_search", 5)]
)
def test_use_of_the_model_in_the_package(tmp_path, name, plots):
  assert plots_of(run(name, tmp_path)) == plots


@pytest.mark.slow
def test_digits(tmp_path):
  assert plots_of(run(DIGITS, tmp_path)) == 2


def test_all_are_run():
  names = {TRAINING, DIGITS, "concept_hierarchy", "zero_shot_and_search"}
  assert {path.stem for path in NOTEBOOKS} == names
