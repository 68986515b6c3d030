"""An evaluation task has the same results on eight devices as on one."""

import pathlib

import pytest

from hyperclip_jax import HyperCLIP
from hyperclip_jax.evals import catalog, runner
from tests import devices, golden_files, small


@pytest.mark.filterwarnings("ignore:.* texts are longer")
def test_eight_devices_measure_what_one_does(tmp_path):
  """Retrieval, classification and distances, to the last bit."""
  (tmp_path / "shapes").symlink_to(pathlib.Path(small.shapes_folder()))
  (task,) = catalog.choose("shapes")

  def measure():
    model = HyperCLIP(*golden_files.model("hycoclip"), batch_size=8)
    return task.run(model, tmp_path)

  with devices.one():
    wanted = measure()
  found = measure()
  assert runner.plain(found) == runner.plain(wanted)
