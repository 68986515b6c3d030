"""How processes meet, and what they say when they do not."""

import json
import os
import socket
import subprocess
import sys

import pytest

from hyperclip_jax import cluster

JOIN = "from hyperclip_jax import cluster; cluster.join({!r}, {}, {}, {})"


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


def test_alone_without_a_coordinator():
  cluster.join(None, None, None)


def test_the_environment_may_name_all_or_a_part():
  environ = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}
  assert cluster.from_environment(environ) == ("a:1", None, 0)
  environ["JAX_NUM_PROCESSES"] = "2"
  assert cluster.from_environment(environ) == ("a:1", 2, 0)
  environ["JAX_NUM_PROCESSES"] = "two"
  with pytest.raises(ValueError, match=r"JAX_NUM_PROCESSES must .*'two'"):
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
