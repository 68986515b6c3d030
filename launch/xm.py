"""Runs a job, or a sweep's, with XManager: in a container or in the cloud.

  python -m launch.xm --config=configs/grit_vitb.py --workdir=/gcs/BUCKET/vitb \
    --executor=vertex --nodes=2 --resource=a100=8

Flags that start with --xm_ are those of XManager. `pip install -e '.[launch]'`.
"""

import argparse
import dataclasses
import importlib
import pathlib
import posixpath
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import yaml
from absl import flags as absl_flags

from launch import jobs

ROOT = pathlib.Path(__file__).parents[1]
PACKED = ("hyperclip_jax", "configs", "setup.py", "pyproject.toml", "README.md")
FOLDER = "/hyperclip"  # in the image
EXECUTORS = ("local", "vertex", "kubernetes")


@dataclasses.dataclass(frozen=True)
class Plan:
  """Input to XManager.

  Attributes:
    title: title of the experiment.
    executor: one of EXECUTORS.
    resources: resources of each node, by the names of xm.JobRequirements.
    nodes: number of nodes of each job.
    volumes: host folder -> container folder, for the local executor.
    base_image: image to build from.
    instructions: lines of the Dockerfile after FROM.
    push_image_tag: tag to push the image to; None leaves it to XManager.
    jobs: name -> flags of hyperclip_jax.main.
  """

  title: str
  executor: str
  resources: dict[str, float]
  nodes: int
  volumes: dict[str, str]
  base_image: str
  instructions: list[str]
  push_image_tag: str | None
  jobs: dict[str, list[str]]


def main(argv: Sequence[str] | None = None) -> int:
  """Builds the image and starts all jobs, or prints the plan."""
  argv = sys.argv[1:] if argv is None else argv
  own = [arg for arg in argv if arg.startswith("--xm_")]
  flags = parser()
  options, todo = jobs.parse(flags, [arg for arg in argv if arg not in own])
  try:
    plan = make(options, todo)
  except ValueError as error:
    flags.error(str(error))
  if options.dry_run:
    print(yaml.safe_dump(dataclasses.asdict(plan), sort_keys=False), end="")
    return 0
  try:
    xm = importlib.import_module("xmanager.xm")
    xm_local = importlib.import_module("xmanager.xm_local")
  except ImportError as error:
    flags.error(f"{error}: pip install -e '.[launch]', or use --dry_run")
  try:
    absl_flags.FLAGS(["launch.xm", *own])
  except absl_flags.Error as error:
    flags.error(str(error))
  launch(plan, xm, xm_local)
  return 0


def parser() -> argparse.ArgumentParser:
  """Makes the parser of this launcher."""
  flags = jobs.parser("Runs a job, or a sweep's, by XManager.")
  flags.add_argument("--executor", choices=EXECUTORS, default="local")
  flags.add_argument("--nodes", type=int, default=1, help="nodes of a job")
  flags.add_argument(
    "--resource",
    action="append",
    default=[],
    metavar="NAME=AMOUNT",
    help="resource of a node, such as a100=8 or local_gpu=1; may be repeated",
  )
  flags.add_argument(
    "--volume",
    action="append",
    default=[],
    metavar="HERE=THERE",
    help="folder to mount in a local container, such as data",
  )
  flags.add_argument("--base_image", default="python:3.12")
  flags.add_argument(
    "--extra", default="gpu", help="extra of setup.py to install"
  )
  flags.add_argument(
    "--push_image_tag", help="registry/name:tag to push the image to"
  )
  return flags


def make(options: argparse.Namespace, todo: Sequence[jobs.Job]) -> Plan:
  """Makes the plan from the flags.

  Args:
    options: values of the flags of `parser`.
    todo: jobs to run.

  Returns:
    Plan of the experiment.

  Raises:
    ValueError: flags contradict each other.
  """
  if options.nodes < 1:
    raise ValueError("--nodes must be at least 1")
  if options.nodes > 1 and options.executor != "vertex":
    raise ValueError(
      f"--executor={options.executor} has one node; for several take "
      "launch.k8s, launch.slurm or --executor=vertex"
    )
  resources = jobs.pairs(options.resource, "--resource")
  volumes = jobs.pairs(options.volume, "--volume")
  if options.executor == "local":
    # a relative workdir is inside the folder of the image
    volumes[options.workdir] = posixpath.join(FOLDER, options.workdir)
  elif volumes:
    raise ValueError("--volume needs --executor=local")
  join = ["--coordinator=auto"] if options.nodes > 1 else []
  return Plan(
    title=todo[0].name if len(todo) == 1 else f"{todo[0].name} and others",
    executor=options.executor,
    resources={name: float(amount) for name, amount in resources.items()},
    nodes=options.nodes,
    volumes={
      str(pathlib.Path(here).absolute()): there
      for here, there in volumes.items()
    },
    base_image=options.base_image,
    instructions=instructions(options.extra),
    push_image_tag=options.push_image_tag,
    jobs={job.name: [*join, *job.args] for job in todo},
  )


def instructions(extra: str) -> list[str]:
  """Makes the lines of the Dockerfile for the folder that `pack` fills."""
  package = f".[{extra}]" if extra else "."
  return [
    f"COPY {FOLDER[1:]}/ {FOLDER}",
    f"WORKDIR {FOLDER}",
    f"RUN python -m pip install --editable {shlex.quote(package)}",
  ]


def pack(folder: pathlib.Path) -> None:
  """Copies the files of this repository that a run needs."""
  folder.mkdir()
  ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
  for name in PACKED:
    if (ROOT / name).is_dir():
      shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    else:
      shutil.copy(ROOT / name, folder / name)


def launch(plan: Plan, xm: Any, xm_local: Any) -> None:
  """Starts the experiment of a plan.

  Args:
    plan: plan to run.
    xm: module `xmanager.xm`.
    xm_local: module `xmanager.xm_local`.
  """
  with (
    tempfile.TemporaryDirectory() as temporary,
    xm_local.create_experiment(experiment_title=plan.title) as experiment,
  ):
    folder = pathlib.Path(temporary) / FOLDER[1:]
    pack(folder)
    spec = xm.PythonContainer(
      entrypoint=xm.ModuleName(jobs.MODULE),
      path=str(folder),
      base_image=plan.base_image,
      docker_instructions=plan.instructions,
    )
    packageable = xm.Packageable(
      executable_spec=spec, executor_spec=executor_spec(plan, xm_local)
    )
    [executable] = experiment.package([packageable])
    for args in plan.jobs.values():
      # Vertex AI makes each job of a group a pool; the first pool has one node.
      replicas = {"first": 1, "others": plan.nodes - 1}
      group = {
        name: xm.Job(
          executable=executable,
          executor=executor(plan, count, xm, xm_local),
          args=args,
        )
        for name, count in replicas.items()
        if count
      }
      experiment.add(xm.JobGroup(**group))


def executor_spec(plan: Plan, xm_local: Any) -> Any:
  """Makes the executor spec, which says where the image goes.

  Args:
    plan: plan to run.
    xm_local: module `xmanager.xm_local`.

  Returns:
    Spec of XManager.
  """
  if plan.executor == "local":
    return xm_local.Local.Spec()
  kind = xm_local.Vertex if plan.executor == "vertex" else xm_local.Kubernetes
  return kind.Spec(push_image_tag=plan.push_image_tag)


def executor(plan: Plan, replicas: int, xm: Any, xm_local: Any) -> Any:
  """Makes the executor of some nodes of a job.

  Args:
    plan: plan to run.
    replicas: number of nodes.
    xm: module `xmanager.xm`.
    xm_local: module `xmanager.xm_local`.

  Returns:
    Executor of XManager.
  """
  if plan.executor == "local":
    return xm_local.Local(
      xm.JobRequirements(plan.resources),
      docker_options=xm_local.DockerOptions(volumes=plan.volumes),
    )
  needs = xm.JobRequirements(plan.resources, replicas=replicas)
  if plan.executor == "vertex":
    return xm_local.Vertex(needs)
  return xm_local.Kubernetes(needs)


if __name__ == "__main__":
  sys.exit(main())
