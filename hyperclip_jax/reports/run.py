"""Writes the report of a run from its evaluation."""

import hashlib
import json
import pathlib
import time

import jax
import numpy as np

from hyperclip_jax.evals import held_out
from hyperclip_jax.evals.held_out import Evaluation, Sample
from hyperclip_jax.files import write_whole
from hyperclip_jax.inference import walk
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.search import Index
from hyperclip_jax.reports import page, provenance
from hyperclip_jax.reports.drawing import located
from hyperclip_jax.training import log, progress
from hyperclip_jax.training.config import Config

FILE = "report.html"
WALKS = 6
EXAMPLES = 12


def write(
  workdir: pathlib.Path,
  config: Config,
  model: HyperCLIP,
  data: Sample,
  evaluation: Evaluation,
) -> pathlib.Path:
  """Writes `report.html` and `results.json` into the workdir.

  Args:
    workdir: folder of the run.
    config: configuration of the run.
    model: trained model.
    data: records that were evaluated.
    evaluation: results on them.

  Returns:
    Path of the report.
  """
  config_text = config.to_json(indent=2, sort_keys=True)
  history = log.read(workdir)
  path = workdir / FILE
  page.write_report(
    path,
    title=workdir.absolute().name,
    about=provenance.of_run(workdir, history, config, model, data),
    system=model.system,
    date=time.strftime("%Y-%m-%d %H:%M"),
    digest=hashlib.sha256(config_text.encode()).hexdigest()[:12],
    # histograms show distances better than rows of numbers
    summary={
      name: value
      for name, value in (evaluation.results | evaluation.context).items()
      if "root_distance" not in name
    },
    history=[
      *history,
      {"step": config.steps, **evaluation.results},
    ],
    embeddings=evaluation.embeddings,
    space=model.space,
    traversals=_walks(model, data, evaluation),
    examples=_examples(model, data, evaluation, config.data.upright),
    config_text=config_text,
  )
  write_whole(
    workdir / "results.json",
    json.dumps(evaluation.results | evaluation.context, indent=1) + "\n",
  )
  return path


def _walks(
  model: HyperCLIP, data: Sample, evaluation: Evaluation
) -> list[page.Traversal]:
  """Walks from the first images to the root among texts, concepts and boxes."""
  concepts = tuple(data.classes.parents) if data.classes else ()
  texts = list(dict.fromkeys([*concepts, *data.box_text, *data.text]))
  candidates = np.concatenate(
    [model.encode_text(texts), evaluation.embeddings["box_image"]]
  )

  index = Index(candidates, [*texts, *data.box_text], model.space)
  root = model.space.root(candidates)
  pictures = dict(enumerate(data.box_image, len(texts)))
  starts = evaluation.embeddings["image"][:WALKS]
  walks = [walk.to_root(start, root, index) for start in starts]
  return [
    page.Traversal(data.image[i], data.text[i], stops, pictures)
    for i, stops in enumerate(walks)
  ]


def _examples(
  model: HyperCLIP, data: Sample, evaluation: Evaluation, upright: bool
) -> list[page.Example]:
  """Collects the first records with their boxes and nearest captions."""
  scores = model.similarity(
    evaluation.embeddings["image"][:EXAMPLES], evaluation.embeddings["text"]
  )
  return [
    page.Example(
      data.image[i],
      data.text[i],
      located(data.records[i], data.image[i], upright),
      [data.text[int(j)] for j in np.argsort(-row)[:3]],
    )
    for i, row in enumerate(scores)
  ]


def evaluate(
  workdir: pathlib.Path, config: Config, model: HyperCLIP, data: Sample
) -> None:
  """Evaluates a trained model and writes its report.

  Every process must call this function: all evaluate, and process 0 writes.

  Args:
    workdir: folder of the run, for the report.
    config: config of the run.
    model: trained model.
    data: records to evaluate on.
  """
  evaluation = held_out.evaluate(model, data)
  if jax.process_index():
    return
  progress.say(progress.wrapped(held_out.summary(evaluation.results), ""))
  path = write(workdir, config, model, data, evaluation)
  progress.say(f"report: {path}")
