"""How processes meet, and what they say when they do not."""

import json
import os
import socket
import subprocess
import sys

import jax
import pytest

from hyperclip_jax.training import cluster

JOIN = (
  "from hyperclip_jax.training import cluster; cluster.join({!r}, {}, {}, {})"
)


def join(*args, **environ):
  """What a process says that joins."""
  return subprocess.run(
    [sys.executable, "-c", JOIN.format(*args)],
    env=os.environ | {"JAX_PLATFORMS": "cpu"} | environ,
    capture_output=True,
    text=True,
    timeout=100,
  )


def free_port():
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    return sock.getsockname()[1]


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ((None, 2, None), "need --coordinator"),
    ((None, None, 0), "need --coordinator"),
    (("host:1", None, 0), "needs --processes and --process"),
    (("host:1", 2, None), "needs --processes and --process"),
    (("host", 2, 0), "'host' is not HOST:PORT"),
    (("host:", 2, 0), "'host:' is not HOST:PORT"),
    ((":1234", 2, 0), "':1234' is not HOST:PORT"),
    (("http://h:80", 2, 0), "'http://h:80' is not HOST:PORT"),
    (("h:80/x", 2, 0), "'h:80/x' is not HOST:PORT"),
    (("::1:80", 2, 0), "'::1:80' is not HOST:PORT"),
    (("my host:80", 2, 0), "'my host:80' is not HOST:PORT"),
    (("localhost:0", 2, 0), "'localhost:0' is not HOST:PORT"),
    (("localhost:99999", 2, 0), "'localhost:99999' is not HOST:PORT"),
    (("localhost:8\u00b2", 2, 0), "is not HOST:PORT"),
    (("localhost:\u0668\u0660", 2, 0), "is not HOST:PORT"),
    (("localhost: 80", 2, 0), "is not HOST:PORT"),
    (("host:1", 2, 2), "numbers 0 to 1, found process 2"),
    (("host:1", 2, -1), "numbers 0 to 1, found process -1"),
    (("auto", 2, 0), "drop --processes and --process"),
  ],
)
def test_flags_that_do_not_say_who_meets_where(args, message, monkeypatch):
  for name in (cluster.ADDRESS, cluster.COUNT, cluster.NUMBER, cluster.SPEC):
    monkeypatch.delenv(name, raising=False)
  with pytest.raises(ValueError, match=message):
    cluster.join(*args)


def test_no_cluster_is_told():
  # In a process of its own: JAX wants to be told before it is used.
  found = join("auto", None, None, 60)
  assert found.returncode
  assert "ValueError: --coordinator=auto found no cluster" in found.stderr


def test_alone_without_a_coordinator(monkeypatch):
  monkeypatch.setattr(jax.distributed, "initialize", pytest.fail)
  cluster.join(None, None, None)
  assert not jax.distributed.is_initialized()


def test_the_environment_may_name_all_or_a_part():
  environ = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}
  assert cluster.from_environment(environ) == ("a:1", None, 0)
  environ["JAX_NUM_PROCESSES"] = "2"
  assert cluster.from_environment(environ) == ("a:1", 2, 0)
  for text in ("two", "\u00b2", "-1", "1.0"):
    environ["JAX_NUM_PROCESSES"] = text
    with pytest.raises(ValueError, match=rf"JAX_NUM_PROCESSES must .*'{text}'"):
      cluster.from_environment(environ)


def test_vertex_numbers_its_pools_through():
  pools = {"workerpool1": ["b:1", "c:1"], "workerpool0": ["a:2222"]}
  found = []
  for kind, index in (("0", 0), ("1", 0), ("1", 1)):
    task = {"type": f"workerpool{kind}", "index": index}
    spec = json.dumps({"cluster": pools, "task": task})
    found.append(cluster.from_environment({"CLUSTER_SPEC": spec}))
  assert found == [("a:2222", 3, 0), ("a:2222", 3, 1), ("a:2222", 3, 2)]
  for spec in ("", "[]", '{"cluster": {}, "task": {"type": "x", "index": 0}}'):
    with pytest.raises(ValueError, match="CLUSTER_SPEC is not Vertex AI's"):
      cluster.from_environment({"CLUSTER_SPEC": spec})


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_whose_peers_do_not_come_ends_with_a_message(process):
  address = f"localhost:{free_port()}"
  done = join(address, 2, process, 2)
  assert done.returncode == 1
  assert f"the processes have not met at {address} within 2 s" in done.stderr
  assert "Traceback" not in done.stderr


def test_slurm_tells_who_is_who():
  port = free_port()
  slurm = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "JAX_COORDINATOR_PORT": str(port),
  }
  done = join("auto", None, None, 60, **slurm)
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_told(address):
  family = socket.AF_INET6 if ":" in address else socket.AF_INET
  with socket.socket(family) as held:
    try:
      held.bind((address, 0))
    except OSError:
      pytest.skip("no IPv6 here")
    held.listen()
    port = held.getsockname()[1]
    name = f"[{address}]" if ":" in address else "localhost"
    with pytest.raises(ConnectionError, match=rf"port {port} of .* is taken"):
      cluster.join(f"{name}:{port}", 1, 0)


def resolve_to(monkeypatch, place):
  kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 0))
  monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [kind])


def test_process_0_listens_at_the_host_that_was_named(monkeypatch):
  port = free_port()
  for host in ("localhost", "127.0.0.1"):
    assert cluster.listening_address(f"{host}:{port}") == f"{host}:{port}"
  # A machine that takes its own name for the loopback would hear nobody.
  resolve_to(monkeypatch, "127.0.1.1")
  assert cluster.listening_address(f"node1:{port}") == f"[::]:{port}"
  resolve_to(monkeypatch, "192.0.2.1")  # of no machine
  assert cluster.listening_address(f"node1:{port}") == f"[::]:{port}"


def test_a_name_may_become_known_later():
  found = cluster.listening_address("no-such-host.invalid:1234")
  assert found == "[::]:1234"


LISTENS = """
import pathlib
from hyperclip_jax.training import cluster
cluster.join("localhost:{port}", 1, 0, 60.0)
table = pathlib.Path("/proc/net/tcp").read_text()
if pathlib.Path("/proc/net/tcp6").exists():
  table += pathlib.Path("/proc/net/tcp6").read_text()
for row in table.splitlines():
  place, _, state = row.split()[1:4]
  if place.endswith(":{port:04X}") and state == "0A":
    print(place.split(":")[0])
"""


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="no /proc")
def test_processes_of_one_machine_do_not_listen_to_the_network():
  done = subprocess.run(
    [sys.executable, "-c", LISTENS.format(port=free_port())],
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=100,
  )
  loopback = {"0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF00000100007F"}
  found = set(done.stdout.split())
  assert found, done.stderr
  assert found <= loopback


def test_giving_up_needs_no_reader():
  code = (
    "import os, threading; r, w = os.pipe(); os.close(r); os.dup2(w, 2)\n"
    "from hyperclip_jax.training import cluster\n"
    "threading.Timer(0, cluster._give_up, ['localhost:1', 0.5]).start()\n"
    "threading.Event().wait(60)"
  )
  done = subprocess.run([sys.executable, "-c", code], timeout=100)
  assert done.returncode == 1
