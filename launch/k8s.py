"""Submits a job, or a sweep's, as Kubernetes JobSets.

  python -m launch.k8s --config=configs/grit_vitb.py --workdir=/runs/vitb \
    --image=registry/hyperclip:1 --nodes=4 --resource=nvidia.com/gpu=8 \
    --claim=runs

JobSet's fields: https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2/
"""

import hashlib
import posixpath
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from launch import jobs

PORT = 8476
WORKERS = "workers"
# A pod is named NAME-workers-0-NUMBER-xxxxx; labels have 63 characters.
LONGEST = 40
Manifest = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
  """Submits one JobSet for each job; returns the exit code of kubectl."""
  flags = jobs.parser("Submits a job, or a sweep's, as Kubernetes JobSets.")
  flags.add_argument(
    "--image", required=True, help="image with this repository"
  )
  flags.add_argument("--nodes", type=int, default=1, help="pods of a job")
  flags.add_argument(
    "--resource",
    action="append",
    default=[],
    metavar="NAME=AMOUNT",
    help="limit of a pod, such as nvidia.com/gpu=8; may be repeated",
  )
  flags.add_argument(
    "--node_selector",
    action="append",
    default=[],
    metavar="LABEL=VALUE",
    help="label of the nodes to run on; may be repeated",
  )
  flags.add_argument(
    "--claim",
    required=True,
    help="PersistentVolumeClaim that all pods may write",
  )
  flags.add_argument(
    "--mount", default="/runs", help="path of the claim in a pod"
  )
  flags.add_argument(
    "--restarts", type=int, default=3, help="restarts after failures"
  )
  flags.add_argument(
    "--grace", type=int, default=300, help="seconds to save in"
  )
  options, todo = jobs.parse(flags, argv)
  if options.nodes < 1 or options.restarts < 0:
    flags.error("--nodes must be at least 1 and --restarts at least 0")
  mount = posixpath.normpath(options.mount)
  if not posixpath.normpath(options.workdir).startswith(f"{mount}/"):
    flags.error(f"--workdir={options.workdir} is not in --mount={mount}")
  try:
    resources = jobs.pairs(options.resource, "--resource")
    selector = jobs.pairs(options.node_selector, "--node_selector")
  except ValueError as error:
    flags.error(str(error))

  def manifest(job: jobs.Job) -> Manifest:
    name = dns_name(job.name)
    run = container(job, name, options.image, options.nodes, resources, mount)
    spec = pod(run, options.claim, selector, options.grace)
    return jobset(name, spec, options.nodes, options.restarts)

  text = yaml.safe_dump_all(
    map(manifest, todo), sort_keys=False, explicit_start=True
  )
  if options.dry_run:
    print(text, end="")
    return 0
  try:
    create = ["kubectl", "create", "--filename=-"]
    return subprocess.run(create, input=text, text=True).returncode
  except FileNotFoundError:
    flags.error("there is no kubectl here: install it, or use --dry_run")


def dns_name(name: str) -> str:
  """Converts a name to a DNS label; different names stay different."""
  safe = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
  if not safe[:1].isalpha():
    safe = f"run-{safe}"
  if safe == name and len(safe) <= LONGEST:
    return safe
  digest = hashlib.sha256(name.encode()).hexdigest()[:6]
  return f"{safe[: LONGEST - 7].rstrip('-')}-{digest}"


def container(
  job: jobs.Job,
  name: str,
  image: str,
  nodes: int,
  resources: Mapping[str, str],
  mount: str,
) -> Manifest:
  """Makes the container of each pod; its environment names the coordinator.

  Args:
    job: job to run.
    name: name of the JobSet and of its headless service.
    image: container image.
    nodes: number of pods.
    resources: resource limits by name.
    mount: path at which the volume "runs" is mounted.

  Returns:
    Container of the pod spec.
  """
  args = ["--coordinator=auto", f"--stopped_code={jobs.STOPPED}", *job.args]
  number = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
  environment = {
    "JAX_COORDINATOR_ADDRESS": {"value": f"{name}-{WORKERS}-0-0.{name}:{PORT}"},
    "JAX_NUM_PROCESSES": {"value": str(nodes)},
    "JAX_PROCESS_ID": {"valueFrom": {"fieldRef": {"fieldPath": number}}},
  }
  return {
    "name": "train",
    "image": image,
    "command": ["python", "-u", "-m", jobs.MODULE],
    # Kubernetes expands $(NAME), and reads $$ as $.
    "args": [arg.replace("$", "$$") for arg in args],
    "env": [{"name": key} | value for key, value in environment.items()],
    "ports": [{"containerPort": PORT}],
    "resources": {"limits": dict(resources)},
    "volumeMounts": [{"name": "runs", "mountPath": mount}],
  }


def pod(
  run: Manifest, claim: str, selector: Mapping[str, str], grace: int
) -> Manifest:
  """Makes the spec of a pod.

  Args:
    run: container to run.
    claim: name of the PersistentVolumeClaim of the volume "runs".
    selector: labels of the nodes to run on.
    grace: seconds from SIGTERM to SIGKILL, in which a run saves.

  Returns:
    Pod spec.
  """
  return {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": grace,
    "automountServiceAccountToken": False,
    "nodeSelector": dict(selector),
    "containers": [run],
    "volumes": [
      {"name": "runs", "persistentVolumeClaim": {"claimName": claim}}
    ],
  }


def jobset(name: str, spec: Manifest, nodes: int, restarts: int) -> Manifest:
  """Makes a JobSet, which restarts all pods when one fails.

  Failures count against `restarts`. A run that was stopped and saved, or lost a
  node, does not count.

  Args:
    name: name of the JobSet.
    spec: spec of each pod.
    nodes: number of pods.
    restarts: number of failures after which it is restarted.

  Returns:
    Manifest of the JobSet.
  """
  stopped = {"operator": "In", "values": [jobs.STOPPED, jobs.TERMINATED]}
  taken = [{"type": "DisruptionTarget", "status": "True"}]
  job = {
    "completionMode": "Indexed",
    "completions": nodes,
    "parallelism": nodes,
    "backoffLimit": 0,
    "podFailurePolicy": {
      "rules": [
        {"action": "FailJob", "onPodConditions": taken},
        {"action": "FailJob", "onExitCodes": stopped},
      ]
    },
    "template": {"spec": spec},
  }
  free = {
    "name": "stopped",
    "action": "RestartJobSetAndIgnoreMaxRestarts",
    "onJobFailureReasons": ["PodFailurePolicy"],
  }
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {"name": name},
    "spec": {
      "network": {"enableDNSHostnames": True},
      "failurePolicy": {"maxRestarts": restarts, "rules": [free]},
      "replicatedJobs": [
        {"name": WORKERS, "replicas": 1, "template": {"spec": job}}
      ],
    },
  }


if __name__ == "__main__":
  sys.exit(main())
