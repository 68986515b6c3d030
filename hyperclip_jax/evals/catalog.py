"""All evaluation tasks, in the order in which they run."""

import textwrap

from hyperclip_jax.evals import benchmarks
from hyperclip_jax.evals.datasets import (
  benchmark,
  captions,
  classification,
  composition,
  detection,
  hierarcaps,
  multi_label,
  root_distance,
  shapes,
  wordnet,
)
from hyperclip_jax.evals.tasks import Task
from hyperclip_jax.files import shown
from hyperclip_jax.sections import closest

TASKS: tuple[Task, ...] = (
  *classification.TASKS,
  *multi_label.TASKS,
  *captions.TASKS,
  *composition.TASKS,
  *hierarcaps.TASKS,
  *detection.TASKS,
  *wordnet.TASKS,
  *root_distance.TASKS,
  *shapes.TASKS,
  *benchmark.TASKS,
)


def choose(names: str, where: str = "--tasks") -> list[Task]:
  """Looks up the tasks of a list such as "imagenet,coco", or all for "all".

  Args:
    names: names of tasks, or of groups of `benchmarks` such as "datacomp",
      joined by commas.
    where: flag or config value that holds them, for the message.

  Returns:
    Tasks in the order of TASKS.

  Raises:
    ValueError: a name is unknown, or there is none.
  """
  known = {task.name: task for task in TASKS}
  wanted = [name.strip() for name in names.split(",") if name.strip()]
  of_group = {
    group: [d.name for d in benchmarks.members(group) if d.name in known]
    for group in benchmarks.groups()
  }
  many = {"all": [*known]} | {
    k: names for k, names in of_group.items() if names
  }
  unknown = [name for name in wanted if name not in known and name not in many]
  if unknown or not wanted:
    near = [
      name for asked in unknown if (name := closest(asked, [*known, *many]))
    ]
    hint = f"did you mean {', '.join(near)}? There" if near else "there"
    every = textwrap.fill(", ".join([*many, *known]), 76)
    raise ValueError(
      f"{where}: no task {', '.join(map(shown, unknown)) or repr(names)}; "
      f"{hint} are\n{textwrap.indent(every, '  ')}"
    )
  asked = {task for name in wanted for task in many.get(name, [name])}
  return [task for task in TASKS if task.name in asked]
