"""Blocks of a validation, in order of importance."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

LARGE_CARD = 120  # GiB from which batch 768 fits unrolled, without remat

# sizes for a rehearsal, which runs everything and measures nothing
TINY = (
  "model.image_size=32",
  "model.vision.width=64",
  "model.vision.depth=1",
  "model.vision.heads=2",
  "model.text.width=64",
  "model.text.depth=1",
  "model.text.heads=2",
  "model.embed_dim=32",
  "data.canvas=32",
)
TESTS = (
  "tests/geometry/test_finite.py",
  "tests/geometry/test_float32.py",
  "tests/systems/test_golden_features.py",
  "tests/systems/test_golden_losses.py",
  "tests/training/test_golden_training.py",
)


class Block(NamedTuple):
  """One command with its own time limit.

  Attributes:
    name: key of its results.
    seconds: time limit.
    module: module for `python -m`.
    flags: flags of the module, except `--output`.
    env: further environment variables.
    writes: whether the module takes `--output`.
  """

  name: str
  seconds: float
  module: str
  flags: Sequence[str]
  env: Mapping[str, str] = {}
  writes: bool = True


def plan(gibibytes: float, rehearse: bool) -> list[Block]:
  """Lists the blocks for a GPU.

  Args:
    gibibytes: memory of the GPU.
    rehearse: whether to use tiny sizes, for a CPU.

  Returns:
    Blocks in order of importance.
  """
  return _rehearsal() if rehearse else _validation(gibibytes)


def _validation(gibibytes: float) -> list[Block]:
  exact = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
  memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
  shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
  same_bits = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
  unroll, dots = "unroll:model.unroll=True", "dots:model.remat=dots"
  full = "full:model.remat=full"
  if gibibytes >= LARGE_CARD:
    variants = {"B": (unroll, dots), "S": (unroll, dots), "L": (unroll, full)}
    fed, beside_torch = ["model.unroll=True"], (unroll, dots)
  else:
    variants = {"B": (dots,), "S": (dots,), "L": (full,)}
    fed, beside_torch = ["model.remat=dots"], (unroll,)

  def step(size: str, seconds: float) -> Block:
    flags = ["--size", size, "--texts", "77", "16"]
    flags += ["--rounds", "3", "--steps", "5"]
    flags += ["--variants", *variants[size]]
    return Block(f"step {size}", seconds, "benchmarks.step", flags, memory)

  against = ["--size", "B", "--batch", "256", "--texts", "77", "16"]
  against += ["--variants", *beside_torch]
  against += ["--torch", "--compile", "--rounds", "3", "--steps", "5"]
  return [
    Block("right", 90, "benchmarks.gpu.right", [], exact),
    step("B", 120),
    Block("against PyTorch", 150, "benchmarks.step", against, shared),
    Block("fed", 90, "benchmarks.gpu.fed", ["--set", *fed], memory),
    Block("sure", 150, "benchmarks.gpu.sure", [], same_bits),
    step("S", 90),
    step("L", 150),
    Block("right, default precision", 60, "benchmarks.gpu.right", []),
    Block(
      "tests",
      180,
      "pytest",
      ["-q", "--maxfail=20", *TESTS],
      exact | shared | {"HYPERCLIP_TEST_PLATFORM": "cuda,cpu"},
      writes=False,
    ),
  ]


def _rehearsal() -> list[Block]:
  small = ["--dtype", "float32", "--batch", "8", "--set", *TINY]
  quick = ["--rounds", "1", "--steps", "1"]
  step = ["--size", "S", *small, *quick, "--texts", "16", "8"]
  fed = [*small, *quick, "--size", "S", "--records", "64", "--threads", "2"]
  sure = ["--steps", "4", "--main_steps", "4", "--set", "shapes.train=64"]
  sure += ["shapes.val=16", "shapes.objects=16", "batch_size=16"]
  sure += ["optim.warmup=2"]
  return [
    Block(
      "right",
      600,
      "benchmarks.gpu.right",
      [
        *("--objectives", "hycoclip", "--cases", "1", "--steps", "2"),
        *("--small", *TINY),
      ],
    ),
    Block(
      "step S",
      600,
      "benchmarks.step",
      [*step, "--matmul", "256", "--variants", "scan:", "--torch"],
    ),
    Block("fed", 600, "benchmarks.gpu.fed", [*fed, "--seconds", "0.1"]),
    Block("sure", 600, "benchmarks.gpu.sure", sure),
    Block(
      "tests", 600, "pytest", ["-q", "tests/test_files.py"], {}, writes=False
    ),
  ]
