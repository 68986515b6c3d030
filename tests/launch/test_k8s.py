"""The JobSet that is submitted."""

import os
import pathlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch import jobs, k8s
from tests.launch.test_jobs import HOSTILE

FLAGS = [
  "--config=a.py", "--workdir=/runs/vitb", "--image=r/h:1", "--claim=runs",
]  # fmt: skip
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def render(capsys, *flags):
  """The manifests of a dry run."""
  assert k8s.main([*FLAGS, *flags, "--dry_run"]) == 0
  return list(yaml.safe_load_all(capsys.readouterr().out))


def parts(manifest):
  """A JobSet's only job, and its only container."""
  (replicated,) = manifest["spec"]["replicatedJobs"]
  assert replicated["replicas"] == 1
  job = replicated["template"]["spec"]
  (container,) = job["template"]["spec"]["containers"]
  return job, container


def test_as_many_pods_as_nodes_meet_at_the_first(capsys):
  (manifest,) = render(capsys, "--nodes=4", "--resource=nvidia.com/gpu=8")
  assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert manifest["kind"] == "JobSet"
  job, container = parts(manifest)
  assert job["completionMode"] == "Indexed"
  assert job["completions"] == job["parallelism"] == 4
  environ = {e["name"]: e.get("value") for e in container["env"]}
  # JobSet's pods are NAME-JOB-0-NUMBER, in a service of the set's name.
  assert environ["JAX_COORDINATOR_ADDRESS"] == "vitb-workers-0-0.vitb:8476"
  assert environ["JAX_NUM_PROCESSES"] == "4"
  number = container["env"][2]["valueFrom"]["fieldRef"]["fieldPath"]
  assert "batch.kubernetes.io/job-completion-index" in number
  assert container["command"][-1] == "hyperclip_jax.main"
  assert container["args"] == [
    "--coordinator=auto",
    "--stopped_code=75",
    "--config=a.py",
    "--workdir=/runs/vitb",
  ]
  assert container["resources"] == {"limits": {"nvidia.com/gpu": "8"}}


def test_failures_count_and_stops_do_not(capsys):
  (manifest,) = render(capsys, "--restarts=5")
  policy = manifest["spec"]["failurePolicy"]
  assert policy["maxRestarts"] == 5
  assert policy["rules"][0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  job, _ = parts(manifest)
  assert job["backoffLimit"] == 0
  # A pod failure policy is allowed with this restart policy only.
  assert job["template"]["spec"]["restartPolicy"] == "Never"
  codes = job["podFailurePolicy"]["rules"][1]["onExitCodes"]
  assert codes == {"operator": "In", "values": [jobs.STOPPED, 143]}


def test_the_workdir_is_on_the_claim(capsys):
  (manifest,) = render(capsys, "--node_selector=pool=a100")
  job, container = parts(manifest)
  pod = job["template"]["spec"]
  (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
  assert volume["persistentVolumeClaim"] == {"claimName": "runs"}
  assert mount == {"name": volume["name"], "mountPath": "/runs"}
  assert pod["nodeSelector"] == {"pool": "a100"}
  for bad in ("--mount=/run", "--mount=/other", "--workdir=/runs/../data/x"):
    with pytest.raises(SystemExit):
      k8s.main([*FLAGS, bad, "--dry_run"])
    assert "is not in --mount" in capsys.readouterr().err


def test_a_sweep_is_several_jobsets(capsys):
  found = render(capsys, "--sweep=seed=0,1")
  names = [manifest["metadata"]["name"] for manifest in found]
  assert len(set(names)) == 2
  assert all(name.startswith("vitb-seed-") for name in names)
  _, container = parts(found[1])
  assert container["args"][-1] == "--config.seed=1"
  assert "--workdir=/runs/vitb/seed=1" in container["args"]


def test_a_hostile_value_stays_one_argument(capsys):
  value = f"{HOSTILE}: [a, &b] !!python/object:x $(JAX_PROCESS_ID)"
  (manifest,) = render(capsys, f"--config.x={value}")
  _, container = parts(manifest)
  argument = container["args"][-1]
  # Kubernetes reads $$ as $, and would put a variable in for $(NAME).
  assert "$(" not in argument.replace("$$", "")
  assert argument.replace("$$", "$") == f"--config.x={value}"


@given(st.text(min_size=1, max_size=80))
def test_names_are_labels_with_room_for_a_pod(name):
  found = k8s.dns_name(name)
  assert LABEL.fullmatch(found)
  assert len(f"{found}-workers-0-99999-abcde") <= 63


@given(st.text(min_size=1), st.text(min_size=1))
def test_other_names_are_other_labels(first, second):
  assert (k8s.dns_name(first) == k8s.dns_name(second)) == (first == second)


def test_kubectl_gets_the_manifest(tmp_path, monkeypatch, capfd):
  kubectl = tmp_path / "kubectl"
  kubectl.write_text('#!/bin/bash\necho "$@"\ncat\nexit 3\n')
  kubectl.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
  assert k8s.main(FLAGS) == 3
  said, manifest = capfd.readouterr().out.split("\n", 1)
  assert said == "create --filename=-"
  assert yaml.safe_load(manifest)["kind"] == "JobSet"
  monkeypatch.setenv("PATH", str(pathlib.Path(tmp_path, "none")))
  with pytest.raises(SystemExit):
    k8s.main(FLAGS)
  assert "there is no kubectl here" in capfd.readouterr().err
