"""Compares the speed of an evaluation with that of the bare encoder.

  python -m benchmarks.evaluation [--size B] [--images 1000] [--rounds 3]

- bare: the image tower and its lift, jitted, on a full batch that is already on
  all local devices, 64 rows each.
- evaluation: the same from JPEG files (640 x 480): read, decoded, resized and
  cropped by threads, copied to the devices, embedded, and fetched. The padding
  of the last batch counts against it.

Both run in every round; medians over rounds. CPU seconds are those of this
process; on a busy machine whose device is the CPU they are more reliable than
wall time. The model is HyCoCLIP as in the paper, untrained.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import simplejpeg
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hyperclip_jax import HyperCLIP
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.evals import encoding
from hyperclip_jax.training import build
from hyperclip_jax.training import config as config_lib

BATCH = 64  # rows per device


def write(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Writes JPEG files of 640 x 480 with about as much detail as photographs.

  Args:
    folder: folder to write to.
    count: number of files.

  Returns:
    Paths of the files.
  """
  rng = np.random.default_rng(0)
  paths = []
  for i in range(count):
    coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels = np.ascontiguousarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    paths.append(folder / f"{i:04d}.jpg")
    paths[-1].write_bytes(simplejpeg.encode_jpeg(pixels, 90))
  return paths


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="B", choices=["S", "B", "L"])
  parser.add_argument("--images", type=int, default=1000)
  parser.add_argument("--rounds", type=int, default=3)
  flags = parser.parse_args()
  config = config_lib.paper("hycoclip", flags.size)
  size = config.model.image_size
  options = config_lib.options(config)
  e = build.encoder(config)
  variables = e.init(jax.random.key(0))
  model = HyperCLIP("hycoclip", options, variables, BATCH)

  @jax.jit
  def bare(variables, x):
    return e.space(variables["params"]).lift(e.image(variables, x))

  mesh = Mesh(np.array(jax.local_devices()), ("data",))
  everywhere, split = (
    NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",))
  )
  rows = BATCH * jax.local_device_count()
  copied = jax.device_put(variables, everywhere)
  batch = jax.device_put(np.zeros((rows, size, size, 3), np.float32), split)
  with tempfile.TemporaryDirectory() as folder:
    paths = write(pathlib.Path(folder), flags.images)

    def read(number: int) -> Pixels:
      return images.center_square(encoding.decode_file(paths[number]), size)

    jax.block_until_ready(bare(copied, batch))
    encoding.encode(model, rows, read)  # compiles
    batches = -(-flags.images // rows)

    def run_bare() -> None:
      for _ in range(batches):
        out = bare(copied, batch)
      jax.block_until_ready(out)

    def run_evaluation() -> None:
      encoding.encode(model, flags.images, read)

    rounds = []
    for _ in range(flags.rounds):
      one = seconds(run_bare) / (batches * rows)
      two = seconds(run_evaluation) / flags.images
      rounds.append((one, two))
      wall, cpu = one / two
      print(f"round: {wall:.1%}, {cpu:.1%} by CPU seconds", flush=True)
  bare_s, evaluation_s = np.median(rounds, axis=0)
  for name, (wall, cpu) in (("bare", bare_s), ("evaluation", evaluation_s)):
    print(f"{name:>10}  {1 / wall:9.1f} images/s  {1e3 * cpu:9.2f} CPU ms each")
  wall, cpu = np.median([one / two for one, two in rounds], axis=0)
  kind = jax.devices()[0].device_kind
  print(
    f"{wall:.1%} of the bare encoder, {cpu:.1%} by CPU seconds, "
    f"{jax.local_device_count()} x {kind}"
  )


def seconds(run: Callable[[], None]) -> np.ndarray:
  """Measures wall and CPU seconds of a call."""
  start = np.array([time.perf_counter(), time.process_time()])
  run()
  return np.array([time.perf_counter(), time.process_time()]) - start


if __name__ == "__main__":
  main()
