"""Programs that XLA compiled in this run of the tests and in former ones."""

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import time

PLATFORM = os.environ.get("HYPERCLIP_TEST_PLATFORM", "cpu")

# jax 0.10 has two ways to generate kernels for a CPU. The older one, which
# later versions lack, takes less than half of the time.
KERNELS = "xla_cpu_use_fusion_emitters"
TWO_WAYS = PLATFORM == "cpu" and importlib.metadata.version("jax").startswith(
  "0.10."
)

WEEK = 7 * 24 * 3600  # seconds


def _processor() -> str:
  """A short name for what the processor can do: programs are made for it."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    described = next(line for line in lines if line.startswith("flags"))
  except (OSError, StopIteration):
    described = platform.processor()
  digest = hashlib.sha256(described.encode()).hexdigest()[:8]
  return f"{platform.machine()}-{digest}"


FOLDER = (
  pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
  / "hyperclip-jax-tests"
  / f"jaxlib-{importlib.metadata.version('jaxlib')}-{_processor()}"
)


def forget_old() -> None:
  """Deletes programs that were made more than a week ago."""
  for program in FOLDER.parent.glob("*/*"):
    if program.stat().st_mtime < time.time() - WEEK:
      program.unlink(missing_ok=True)
