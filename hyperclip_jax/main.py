"""Entry point of the process of a command: `hyperclip COMMAND ...`.

`python -m hyperclip_jax.main --config=FILE --workdir=DIR` is `hyperclip train`
with the same flags, and with --mode=COMMAND another command.
"""

import faulthandler
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from hyperclip_jax import console
from hyperclip_jax.training import signals


def start(argv: Sequence[str] | None = None) -> NoReturn:
  """Runs a command and exits with its exit code.

  Args:
    argv: command and its arguments; None for those of the process.
  """
  argv = sys.argv[1:] if argv is None else argv
  # First of all, since the imports take seconds.
  console.outlive()
  console.tell_warnings()
  if argv[:1] != ["demo"]:  # On a signal it must remove uploads.
    signals.listen(argv)
  faulthandler.enable()

  from absl import flags, logging

  from hyperclip_jax.commands import door

  flags.FLAGS.mark_as_parsed()  # grain and absl.logging read absl flags.
  logging.use_absl_handler()
  logging.set_verbosity(logging.WARNING)  # Orbax logs every step of a save.
  try:
    sys.exit(door.run(argv))
  except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)


def by_mode(argv: Sequence[str]) -> list[str]:
  """Replaces --mode=COMMAND by the command at the front."""
  command, rest, left = "train", [], [*argv]
  while left:
    name, equals, value = left.pop(0).partition("=")
    if name not in ("--mode", "-mode"):
      rest.append(name + equals + value)
    elif equals or left:
      command = value if equals else left.pop(0)
  return [command, *rest]


if __name__ == "__main__":
  start(by_mode(sys.argv[1:]))
