"""What a save costs: the time a run stands still, and the work behind it.

JAX_PLATFORMS=cpu python benchmarks/checkpoints.py --config=configs/FILE.py
"""

import argparse
import importlib.util
import pathlib
import statistics
import tempfile
import time

import jax

from hyperclip_jax import build, checkpoint, digests


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--config", required=True)
  parser.add_argument("--saves", type=int, default=7)
  options = parser.parse_args()
  spec = importlib.util.spec_from_file_location("run_file", options.config)
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  state = jax.jit(build.init(module.get_config()))()
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  blocked, behind, cpu, hashing = [], [], [], []
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    with checkpoint.Checkpoints(workdir, keep=2) as checkpoints:
      for _ in range(options.saves + 1):  # the first makes folders and caches
        state = state.replace(step=state.step + 1)
        begin, work = time.monotonic(), time.process_time()
        checkpoints.save(state, {})
        blocked.append(time.monotonic() - begin)
        checkpoints.wait()
        behind.append(time.monotonic() - begin - blocked[-1])
        cpu.append(time.process_time() - work)
    newest = workdir / checkpoint.FOLDER / str(int(state.step))
    for _ in range(options.saves + 1):
      begin = time.process_time()
      assert digests.problem(newest) is None
      hashing.append(time.process_time() - begin)
  print(f"{options.config}: a state of {size / 2**20:.0f} MiB")
  for name, values in (
    ("the run stands still", blocked),
    ("then in the background", behind),
    ("CPU time of both", cpu),
    ("of it, digests take", hashing),
  ):
    print(f"  {name}: {1e3 * statistics.median(values[1:]):.0f} ms (median)")


if __name__ == "__main__":
  main()
