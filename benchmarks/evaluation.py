"""Images a second of an evaluation, against those of the bare encoder.

  python benchmarks/evaluation.py [--size B] [--images 1000] [--rounds 3]

- bare: the image tower and its lift on a batch that lies on the device, jitted.
- evaluation: the same from JPEG files (640 x 480): read, decoded, resized and
  cut by threads, copied to the device, embedded, and fetched.

One after the other in every round; medians over rounds. The model is HyCoCLIP
as in the paper, untrained.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import jax
import numpy as np
import simplejpeg

from hyperclip_jax import HyperCLIP, build
from hyperclip_jax import config as config_lib
from hyperclip_jax.data import images
from hyperclip_jax.data.images import Pixels
from hyperclip_jax.evals import encoding

BATCH = 64


def write(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """JPEG files of 640 x 480 with about as much detail as photographs."""
  rng = np.random.default_rng(0)
  paths = []
  for i in range(count):
    coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels = np.ascontiguousarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    paths.append(folder / f"{i:04d}.jpg")
    paths[-1].write_bytes(simplejpeg.encode_jpeg(pixels, 90))
  return paths


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="B", choices=["S", "B", "L"])
  parser.add_argument("--images", type=int, default=1000)
  parser.add_argument("--rounds", type=int, default=3)
  flags = parser.parse_args()
  config = config_lib.paper("hycoclip", flags.size)
  size = config.model.image_size
  module = build.model(config)
  params = build.init(config)().params
  model = HyperCLIP("hycoclip", module, params, size, BATCH)

  @jax.jit
  def bare(params, x):
    tangents = module.apply({"params": params}, x, method="encode_image")
    return module.apply({"params": params}, tangents, method="lift")

  batch = jax.numpy.zeros((BATCH, size, size, 3))
  with tempfile.TemporaryDirectory() as folder:
    paths = write(pathlib.Path(folder), flags.images)

    def read(number: int) -> Pixels:
      return images.center_square(encoding.decode_file(paths[number]), size)

    jax.block_until_ready(bare(model.params, batch))
    encoding.encode(model, BATCH, read)  # Compiles.
    rates: dict[str, list[float]] = {"bare": [], "evaluation": []}
    for _ in range(flags.rounds):
      start = time.perf_counter()
      for _ in range(-(-flags.images // BATCH)):
        out = bare(model.params, batch)
      jax.block_until_ready(out)
      middle = time.perf_counter()
      encoding.encode(model, flags.images, read)
      end = time.perf_counter()
      rates["bare"].append(flags.images / (middle - start))
      rates["evaluation"].append(flags.images / (end - middle))
  found = {name: statistics.median(values) for name, values in rates.items()}
  for name, rate in found.items():
    print(f"{name:>10}  {rate:9.1f} images/s")
  share = found["evaluation"] / found["bare"]
  print(f"{share:.1%} of the bare encoder, {jax.devices()[0].device_kind}")


if __name__ == "__main__":
  main()
