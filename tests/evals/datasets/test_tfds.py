"""What TFDS itself prepared as ArrayRecord, read without TensorFlow."""

import io
import sys

import pytest
import tensorflow_datasets as tfds

from hyperclip_jax.data.prepare import inputs
from hyperclip_jax.data.prepare.tally import Tally
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.sample import Reading
from hyperclip_jax.evals.datasets import labelled
from tests.evals import pictures
from tests.evals.pictures import GREEN, RED

# Of TFDS, about its own protocol buffers.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def prepared(tmp_path):
  """A data set of TFDS's name and layout: a red 2 and a green 7."""

  class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("3.0.1")

    def _info(self):
      names = [str(digit) for digit in range(10)]
      features = tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(None, None, 3)),
          "label": tfds.features.ClassLabel(names=names),
        }
      )
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {"test": self._generate_examples()}

    def _generate_examples(self):
      for colour, label in ((RED, "2"), (GREEN, "7")):
        image = io.BytesIO(pictures.encoded(colour))
        yield label, {"image": image, "label": label}

  builder = Mnist(data_dir=str(tmp_path), file_format="array_record")
  builder.download_and_prepare()
  return tmp_path


def test_it_is_read(prepared):
  found = labelled.find(prepared, "mnist", "test", "mnist", "test")
  assert found is not None
  assert found.classes == tuple(map(str, range(10)))
  rows = [found.read(number) for number in range(found.count)]
  seen = {label: tuple(pixels[0, 0].tolist()) for pixels, label in rows}
  assert seen == {2: RED, 7: GREEN}
  assert "tensorflow" not in sys.modules


def test_a_split_that_is_not_there_is_named(prepared):
  with pytest.raises(ValueError, match=r"mnist: test\[5:9\]: "):
    labelled.find(prepared, "mnist", "test", "mnist", "test[5:9]")


def test_prepare_reads_it_too(prepared):
  found = inputs.find(["tfds:mnist:test"], str(prepared), 1)
  assert len(found) == 2
  tally = Tally()
  records = [r for one in found for r in inputs.read(one, tally, Reading(1))]
  seen = {
    r.caption: tuple(images.decode(r.image)[0, 0].tolist()) for r in records
  }
  assert seen == {"2": RED, "7": GREEN}
  described = [inputs.describe(one) for one in found]
  assert described[0]["images"] == [0, 1]
  assert described[0]["images_digest"] == described[1]["images_digest"]
  assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
  ("written", "message"),
  [
    ("tfds:mnist", "want tfds:NAME:SPLIT"),
    ("tfds:mnist:test[5:9]", "tfds:mnist:test.*cannot be read"),
    ("tfds:cifar10:train", "tfds build cifar10 --file_format=array_record"),
  ],
)
def test_what_prepare_cannot_read(prepared, written, message):
  with pytest.raises(ValueError, match=message):
    inputs.find([written], str(prepared), 10)
