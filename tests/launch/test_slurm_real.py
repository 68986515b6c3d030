"""A real SLURM on this machine: two slurmd, preemption, requeueing, a sweep.

Skipped where slurm-wlm and munge are not installed, or without root, which its
daemons want.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from launch import slurm

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue")
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="wants slurm-wlm and munge, and root",
  ),
]
REPOSITORY = pathlib.Path(__file__).parents[2]
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
KillWait=10
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {cpus}
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {cpus}
PartitionName=main Nodes=node[1-2] Default=YES MaxTime=INFINITE \
PriorityTier=1 GraceTime=60 PreemptMode=REQUEUE
PartitionName=urgent Nodes=node[1-2] MaxTime=INFINITE PriorityTier=10 \
PreemptMode=OFF
"""
SMALL = (
  "--config.shapes.train=256",
  "--config.shapes.val=16",
  "--config.shapes.objects=16",
  "--config.batch_size=32",
  "--config.optim.warmup=5",
  "--config.eval_every=0",
  "--config.log_every=5",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
  """Starts the daemons; afterwards their jobs and they are ended."""
  folder = tmp_path_factory.mktemp("slurm")
  folder.chmod(0o755)
  keep = dict(os.environ)
  os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
  # As a user has it, and with the environment's python first.
  os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}:{keep['PATH']}"
  os.environ["PYTHONPATH"] = str(REPOSITORY)
  for name in [n for n in os.environ if n.startswith("JAX_NUMPY")]:
    del os.environ[name]
  os.environ.pop("XLA_FLAGS", None)
  # No name server knows the nodes of one machine.
  scontrol = folder / "bin" / "scontrol"
  scontrol.parent.mkdir()
  scontrol.write_text(
    '#!/bin/bash\nif [[ "$1 $2" == "show hostnames" ]]; then echo 127.0.0.1; '
    f'else exec {shutil.which("scontrol")} "$@"; fi\n'
  )
  scontrol.chmod(0o755)
  os.environ["PATH"] = f"{scontrol.parent}:{os.environ['PATH']}"
  (folder / "slurm.conf").write_text(
    CONF.format(
      folder=folder,
      host=socket.gethostname().split(".")[0],
      ports=free_ports(3),
      cpus=f"CPUs={os.cpu_count()} RealMemory=1000 State=UNKNOWN",
    )
  )
  munge = folder / "munge"
  munge.mkdir()
  (munge / "key").write_bytes(os.urandom(1024))
  (munge / "key").chmod(0o600)
  (folder / "state").mkdir()
  daemons = [
    [
      *("munged", "--foreground", "--force", f"--socket={munge}/socket"),
      *(f"--key-file={munge}/key", f"--pid-file={munge}/pid"),
      *(f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
    ],
    ["slurmctld", "-D"],
    *(["slurmd", "-D", "-N", node] for node in ("node1", "node2")),
  ]
  running = []
  try:
    for command in daemons:
      log = (folder / f"{len(running)}-{command[0]}.out").open("wb")
      running.append(
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
      )
      log.close()
      if command[0] == "munged":
        until((munge / "socket").exists, 20)
    until(
      lambda: ask("sinfo", "-h", "-o", "%T %D").split() == ["idle", "2"], 60
    )
    yield folder
  finally:
    for partition in ("main", "urgent"):
      subprocess.run(["scancel", "--partition", partition], timeout=30)
    time.sleep(1)
    for process in reversed(running):
      process.terminate()
      try:
        process.wait(20)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    os.environ.clear()
    os.environ.update(keep)


def free_ports(count):
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(("127.0.0.1", 0))
  ports = [each.getsockname()[1] for each in sockets]
  for each in sockets:
    each.close()
  return ports


def until(condition, seconds):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, ask("squeue") + ask("sinfo")
    time.sleep(0.25)


def ask(*command):
  done = subprocess.run(command, capture_output=True, text=True, timeout=60)
  return done.stdout + done.stderr


def submit(folder, name, *flags):
  """The job's number, its workdir and its log."""
  workdir = folder / "runs" / name
  before = set(jobs())
  code = slurm.main(
    [
      "--config=configs/shapes_tiny.py:clip",
      f"--workdir={workdir}",
      f"--config.shapes.folder={folder}/shapes",
      "--gpus=0",
      *SMALL,
      *flags,
    ]
  )
  assert code == 0
  (job,) = set(jobs()) - before
  return job, workdir, workdir / f"slurm-{job}.out"


def jobs():
  return ask("squeue", "-h", "-t", "all", "-o", "%i").split()


def about(job):
  words = ask("scontrol", "show", "job", job).split()
  return dict(word.partition("=")[::2] for word in words)


def text(path):
  return path.read_text(errors="replace") if path.exists() else ""


def logged(workdir):
  """The last step in the run's metrics."""
  rows = text(workdir / "metrics.jsonl").splitlines()
  return json.loads(rows[-1])["step"] if rows else 0


def ranks(workdir):
  """The processes of a run."""
  pattern = f"hyperclip_jax.main.*--workdir={workdir}"
  return [int(pid) for pid in ask("pgrep", "-f", pattern).split()]


def preempt():
  """Takes both nodes for a second."""
  subprocess.run(
    [
      *(
        "sbatch",
        "-p",
        "urgent",
        "-N2",
        "-n2",
        "--exclusive",
        "-o",
        "/dev/null",
      ),
      *("--wrap", "sleep 1"),
    ],
    check=True,
  )


def go_on(job):
  """Lets a job that was queued again start at once: SLURM waits two minutes."""

  def asked():
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    return about(job)["JobState"] == "RUNNING"

  until(asked, 120)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
  monkeypatch.chdir(REPOSITORY)


@pytest.mark.slow
def test_a_run_survives_preemption_at_its_start_and_in_training(cluster):
  job, workdir, log = submit(
    cluster,
    "preempted",
    "--nodes=2",
    "--time=30",
    "--config.steps=60",
    "--config.checkpoint.every=500",
  )
  until(lambda: about(job)["JobState"] == "RUNNING", 60)
  time.sleep(1.5)  # Python is importing
  preempt()
  until(lambda: about(job)["Restarts"] == "1", 120)
  go_on(job)
  until(lambda: logged(workdir) >= 10, 240)
  preempt()
  until(lambda: about(job)["Restarts"] == "2", 120)
  assert "stopped and saved: queueing again" in text(log)
  go_on(job)
  until(lambda: about(job)["JobState"] == "COMPLETED", 240)
  shown = text(log)
  assert "resumed from step" in shown
  assert logged(workdir) == 60
  assert "Traceback" not in shown
  assert (workdir / "report.html").exists()


@pytest.mark.slow
def test_a_killed_rank_starts_again_as_often_as_asked(cluster):
  job, workdir, log = submit(
    cluster,
    "killed",
    "--restarts=1",
    "--config.steps=4000",
    "--config.checkpoint.every=10",
  )

  def kill(step):
    until(lambda: logged(workdir) >= step, 240)
    for pid in ranks(workdir):
      os.kill(pid, signal.SIGKILL)

  kill(20)
  until(lambda: "restart 1 of 1: queueing again" in text(log), 60)
  go_on(job)
  until(lambda: "resumed from step" in text(log), 120)
  kill(0)
  until(lambda: about(job)["JobState"] == "FAILED", 60)


@pytest.mark.slow
def test_a_sweep_is_a_job_a_point(cluster):
  before = set(jobs())
  folder = cluster / "runs" / "sweep"
  code = slurm.main(
    [
      "--config=configs/shapes_tiny.py:clip",
      f"--workdir={folder}",
      f"--config.shapes.folder={cluster}/shapes",
      "--gpus=0",
      *SMALL,
      "--sweep=steps=5,10",
    ]
  )
  assert code == 0
  points = sorted(set(jobs()) - before, key=int)
  assert [about(job)["JobName"] for job in points] == [
    "sweep_steps=5",
    "sweep_steps=10",
  ]
  for job in points:
    until(lambda job=job: about(job)["JobState"] == "COMPLETED", 240)
  assert [logged(folder / f"steps={n}") for n in (5, 10)] == [5, 10]
