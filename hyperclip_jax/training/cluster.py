"""Joins the processes of one run by `jax.distributed`."""

import errno
import ipaddress
import json
import os
import re
import socket
import threading
from collections.abc import Mapping

import jax

from hyperclip_jax import console

# A name or IPv4 address, or an IPv6 address in brackets; then a port.
ADDRESS_FORM = re.compile(r"([^\s/:@\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")

ADDRESS = "JAX_COORDINATOR_ADDRESS"
COUNT = "JAX_NUM_PROCESSES"
NUMBER = "JAX_PROCESS_ID"
SPEC = "CLUSTER_SPEC"

BY_HAND = (
  "give --coordinator=HOST:PORT --processes=N --process=I, or "
  f"--coordinator=auto and set {ADDRESS}, {COUNT} and {NUMBER}"
)


def join(
  coordinator: str | None,
  processes: int | None,
  process: int | None,
  timeout: float = 300.0,
) -> None:
  """Connects to the other processes; does nothing without a coordinator.

  Args:
    coordinator: HOST:PORT of process 0, or "auto" to read the environment:
      JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, Vertex AI's
      CLUSTER_SPEC, or what JAX detects itself (SLURM, Open MPI, Kubernetes, TPU
      pods).
    processes: number of processes; None with "auto".
    process: number of this process, from 0; None with "auto".
    timeout: seconds within which all processes must have connected. After them
      this process ends with a message, where JAX would abort without one.

  Raises:
    ValueError: the flags or variables are incomplete or malformed.
    ConnectionError: this process cannot join, such as for a port in use.
  """
  address = coordinator
  if coordinator == "auto":
    if (processes, process) != (None, None):
      raise ValueError(
        "--coordinator=auto reads the number of processes from the "
        "environment: drop --processes and --process"
      )
    address, processes, process = from_environment(os.environ)
  elif coordinator is None:
    if (processes, process) != (None, None):
      raise ValueError("--processes and --process need --coordinator")
    return
  elif processes is None or process is None:
    raise ValueError(
      f"--coordinator={coordinator} needs --processes and --process: {BY_HAND}"
    )
  if address is not None:
    check_address(address)
  known = None not in (address, processes, process)
  if processes is not None and process is not None:
    _check_number(processes, process)

  listens_at = None
  if address is not None and process == 0:
    listens_at = listening_address(address)
  watch = threading.Timer(timeout, _give_up, [address, timeout])
  watch.daemon = True
  watch.start()
  try:
    jax.distributed.initialize(
      address,
      processes,
      process,
      # With all values given, SLURM must not restrict the visible devices.
      cluster_detection_method="deactivate" if known else None,
      initialization_timeout=round(timeout) + 60,
      coordinator_bind_address=listens_at,
    )
  except ValueError as error:
    raise ValueError(
      f"--coordinator=auto found no cluster ({error}): {BY_HAND}"
    ) from error
  except RuntimeError as error:
    raise ConnectionError(f"cannot join the processes: {error}") from error
  finally:
    watch.cancel()


def from_environment(
  environ: Mapping[str, str],
) -> tuple[str | None, int | None, int | None]:
  """Reads how to connect from environment variables.

  Args:
    environ: environment variables by name, such as `os.environ`.

  Returns:
    Address of the coordinator, number of processes and number of this process;
    None for each that is not set.

  Raises:
    ValueError: a variable is malformed.
  """
  if SPEC in environ and ADDRESS not in environ:
    return _vertex(environ[SPEC])

  def number(name: str) -> int | None:
    text = environ.get(name) or None
    if text is not None and not re.fullmatch("[0-9]{1,9}", text):
      raise ValueError(f"{name} must be a whole number, found {text!r}")
    return None if text is None else int(text)

  return environ.get(ADDRESS) or None, number(COUNT), number(NUMBER)


def _vertex(text: str) -> tuple[str, int, int]:
  """Reads CLUSTER_SPEC of Vertex AI; the first pool holds the coordinator.

  https://cloud.google.com/vertex-ai/docs/training/distributed-training
  """
  try:
    spec = json.loads(text)
    pools = dict(sorted(spec["cluster"].items()))  # workerpool0, workerpool1
    hosts = [(pool, i) for pool in pools for i in range(len(pools[pool]))]
    mine = (spec["task"]["type"], int(spec["task"]["index"]))
    return next(iter(pools.values()))[0], len(hosts), hosts.index(mine)
  except (KeyError, TypeError, ValueError, StopIteration) as error:
    raise ValueError(f"{SPEC} is not Vertex AI's: {text!r}") from error


def _check_number(processes: int, process: int) -> None:
  if not 0 <= process < processes:
    raise ValueError(
      f"{processes} processes have the numbers 0 to {processes - 1}, "
      f"found process {process}"
    )


def check_address(address: str) -> None:
  """Checks that an address is HOST:PORT or [IPV6]:PORT.

  Raises:
    ValueError: it is not.
  """
  match = ADDRESS_FORM.fullmatch(address)
  if not match or not 1 <= int(match[2]) <= 65_535:
    raise ValueError(
      f"the coordinator {address!r} is not HOST:PORT with a port from 1 to "
      "65535, such as node1:8476"
    )


def listening_address(address: str) -> str:
  """Finds the address that process 0 listens at.

  Args:
    address: HOST:PORT of the coordinator.

  Returns:
    `address` itself, so that no other interface is exposed. All interfaces,
    "[::]:PORT", if the host is no address of this machine (a forwarded port)
    or resolves to the loopback here alone, as a machine's own name may.

  Raises:
    ConnectionError: the port is in use, or not permitted.
  """
  host, _, port = address.rpartition(":")
  name = host.strip("[]")
  everywhere = f"[::]:{port}"
  try:
    found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
  except OSError:  # the names of a cluster may take a while to resolve
    return everywhere
  bound, own = False, name == "localhost" or _is_ip(name)
  for family, kind, protocol, _, place in found:
    if ipaddress.ip_address(place[0]).is_loopback and not own:
      return everywhere
    with socket.socket(family, kind, protocol) as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      try:
        probe.bind(place)
        probe.listen()
        bound = True
      except OSError as error:
        if error.errno == errno.EADDRINUSE:
          raise ConnectionError(
            f"port {port} of {name} is taken by another process, so the "
            "processes cannot meet there: give --coordinator another port"
          ) from error
        if error.errno == errno.EACCES:
          raise ConnectionError(
            f"this user may not listen at port {port}: give --coordinator a "
            "port above 1023"
          ) from error
  return address if bound else everywhere


def _is_ip(name: str) -> bool:
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _give_up(address: str | None, timeout: float) -> None:
  console.end(
    f"error: the processes have not met at {address or 'the coordinator'} "
    f"within {timeout:.0f} s: see that process 0 runs there, that the port can "
    "be reached, and that as many processes were started as were announced"
  )
