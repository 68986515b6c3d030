"""An evaluation task has the same results on eight devices as on one."""

import pathlib

import jax
import pytest

from hyperclip_jax import HyperCLIP
from hyperclip_jax.evals import catalog, runner
from tests import golden_files, small


@pytest.mark.filterwarnings("ignore:.* texts are longer")
def test_eight_devices_measure_what_one_does(tmp_path):
  """Retrieval, classification and distances, to the last bit."""
  (tmp_path / "shapes").symlink_to(pathlib.Path(small.shapes_folder()))
  (task,) = catalog.choose("shapes")

  def measure(devices):
    found = golden_files.model("hycoclip")
    model = HyperCLIP(*found, batch_size=8, devices=devices)
    return task.run(model, tmp_path)

  wanted, found = measure(jax.local_devices()[:1]), measure(None)
  assert runner.plain(found) == runner.plain(wanted)
