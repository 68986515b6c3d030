"""Trains a run from its config to a trained model."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from hyperclip_jax.checkpoints import checkpoint, release
from hyperclip_jax.data.feed import pipeline, views
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.feed.views import Display
from hyperclip_jax.data.records import identity
from hyperclip_jax.evals import held_out
from hyperclip_jax.files import write_whole
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems.task import Batch, Task
from hyperclip_jax.training import (
  build,
  goodput,
  histograms,
  log,
  options,
  pictures,
  progress,
  runs,
  same_data,
  sharding,
  signals,
  start,
  suite,
)
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import health as health_lib
from hyperclip_jax.training import step as step_lib
from hyperclip_jax.training.claim import claimed
from hyperclip_jax.training.config_tree import leaves
from hyperclip_jax.training.runs import Run
from hyperclip_jax.training.sources import sample
from hyperclip_jax.training.step import TrainState
from hyperclip_jax.training.trace import Trace
from hyperclip_jax.training.watchdog import Watchdog

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]


def train(run: Run, verbose: bool = False) -> HyperCLIP | None:
  """Trains from the newest checkpoint, or from scratch, to `config.steps`.

  Args:
    run: run to train.
    verbose: whether to print all terms of the loss with every line of progress.

  Returns:
    The trained model; None if it was stopped.
  """
  clock = goodput.Clock()
  config, mesh = run.config, run.mesh
  main_process = jax.process_index() == 0
  run.workdir.mkdir(parents=True, exist_ok=True)

  with contextlib.ExitStack() as stack:
    enter = stack.enter_context
    enter(claimed(run.workdir))
    _describe(run)
    data = sample(config, run.sources) if config.eval_every else None
    step_fn = make_step(run)
    if main_process:
      text = config.to_json(indent=2) + "\n"
      write_whole(run.workdir / config_lib.FILE, text)
      command = runs.command(sys.argv) + "\n"
      write_whole(run.workdir / runs.COMMAND, command, errors="replace")
      release.describe(run.workdir, config.system, config_lib.options(config))
    keep, keep_every = config.checkpoint.keep, config.checkpoint.keep_every
    checkpoints = enter(checkpoint.Checkpoints(run.workdir, keep, keep_every))
    state, meta = first_state(run, checkpoints)
    if main_process:
      same_data.remember(run.sources, run.workdir)
    begin, examples_seen = int(state.step), meta["examples_seen"]
    evals = options.Evals(**config.evals)
    wandb = options.Wandb(**config.wandb)
    writer = log.Writer(run.workdir if main_process else None, begin, wandb)
    enter(writer)
    writer.describe(dict(leaves(config)))
    if data and not begin:
      writer.pictures(pictures.examples(data))
    if main_process:
      log.cut(run.workdir / health_lib.FILE, begin)
    profile = run.workdir / "profile" if main_process else None
    trace = enter(Trace(profile, config.profile.first, config.profile.steps))
    stop = enter(signals.saving())
    watchdog = Watchdog(
      run.workdir, config.stall_seconds, config.data.slow_seconds
    )
    enter(watchdog)  # last, so that it exits first
    health = make_health(run, begin, examples_seen)
    window = progress.Window(meta["window"], health.look)
    faults = Faults(
      config.data.max_bad,
      bad=meta.get("bad_records", 0),
      seen=examples_seen // jax.process_count(),
    )
    data_digest = identity.digest([source.shards for source in run.sources])
    batches = make_batches(run, examples_seen, faults)

    def evaluate(step: int) -> None:
      on = data if 0 < step < config.steps else None
      if on and step % config.eval_every:
        on = None
      tasks = suite.due(evals, step, config.steps)
      if not on and not tasks:
        return
      variables = sharding.to_host(state.variables)
      with clock.on("evaluation"):  # each process evaluates a share
        model, results = _model(run, variables), {}
        if on:
          results |= held_out.evaluate(model, on).results
          parts = [f"step {step}", *held_out.summary(results)]
          progress.say(progress.wrapped(parts, ""))
        if tasks:
          results |= suite.measure(evals, model, step, watchdog.stepped)
      writer.write(step, results)

    clock.started()
    printer = progress.Progress(
      config.steps,
      config.batch_size,
      clock.trained,
      1 if verbose else progress.TERMS,
    )
    if not (evals.tasks and suite.measured(run.workdir, begin)):
      evaluate(begin)  # which is missing if the run ended before it
    for step in range(begin + 1, config.steps + 1):
      trace.at(step, state)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        watchdog.waits_for("batch")
        with clock.on("data"):
          batch = sharding.to_global(next(batches), mesh)
        watchdog.waits_for("step")
        state, step_metrics = clock.step(step_fn, state, batch, _texts(batch))
      counts = step_metrics.pop(histograms.NAME, None)
      if counts and step % config.histograms_every == 0:
        with clock.on("device"):
          found = histograms.read(counts)
        writer.histograms(step, found)
      examples_seen += config.batch_size
      window.add(step, step_metrics)
      stopped = stop(step)  # asked only once: a signal may arrive at any time
      last = step == config.steps

      if last or step % config.log_every == 0:
        with clock.on("device"):
          values = window.close()
        bad = float(faults.until(examples_seen))
        values |= {"bad_records": bad, **clock.split()}
        writer.write(step, values | printer.report(step, values))
      if last or stopped or step % config.checkpoint.every == 0:
        meta = {
          "examples_seen": examples_seen,
          "bad_records": faults.until(examples_seen),
          "data": data_digest,
          "window": window.rows(),
          "config": config.to_dict(),
        }
        with clock.on("checkpoint"):
          checkpoints.save(state, meta)
      checkpoints.check()
      if last or stopped:
        writer.write(step, clock.report())
      if stopped:
        checkpoints.wait()
        progress.say(
          f"stopped; step {step} is saved; run the same command again"
        )
        return None
      evaluate(step)
      watchdog.stepped()

    variables = sharding.to_host(state.variables)
    checkpoints.wait()
    return _model(run, variables)


def _describe(run: Run) -> None:
  """Prints what is going to run, before anything that takes long."""
  newest = max(checkpoint.steps(run.workdir), default=0)
  if newest < run.config.steps:
    size = sum(leaf.size for leaf in jax.tree.leaves(run.shapes.params))
    progress.say(runs.summary(run, size, newest))


def _texts(batch: Batch) -> str:
  """Names the lengths of texts, each of which has a program of its own."""
  lengths = {
    view["text"].shape[1]: None for view in batch.values() if "text" in view
  }
  return f"texts of {' and '.join(map(str, lengths))} tokens" if lengths else ""


def first_state(
  run: Run, checkpoints: checkpoint.Checkpoints | None = None
) -> tuple[TrainState, dict[str, Any]]:
  """Restores the newest checkpoint, or initialises a fresh state.

  The metadata contain "examples_seen" and the "window" of metrics since the
  last log line; those of a checkpoint also the "bad_records" found and a digest
  of the "data" it was trained on.

  Args:
    run: run to start or resume.
    checkpoints: checkpoints of its workdir; None for a fresh state.

  Returns:
    State on the devices, and metadata.

  Raises:
    DataChangedError: the run now reads other data, which is not allowed.
  """
  if checkpoints is None or not checkpoints.steps:
    progress.say("compiling the initial parameters")
    state = jax.jit(
      build.init(run.config, run.task), out_shardings=run.shardings
    )()
    if run.config.init_from:
      state = start.begin(state, run.config)
    return state, {"examples_seen": 0, "window": []}
  like = checkpoint.abstract(run.shapes, run.shardings)
  state, meta = checkpoints.restore(like)
  allowed = run.config.checkpoint.allow_data_change
  same_data.check(run.sources, run.workdir, meta, allowed)
  progress.say(f"resumed from step {int(state.step)}")
  return state, meta


def make_step(run: Run) -> Step:
  """Jits the update: augments a batch, embeds it, steps; donates the state.

  With `config.histograms_every`, metrics hold `histograms.NAME` as well.
  """
  config, task = run.config, run.task
  optimizer = build.optimizer(config, task.rules)
  schedule, key = build.schedule(config), jax.random.key(config.seed)
  size = build.encoder(config).image_size
  whole = NamedSharding(run.mesh, PartitionSpec())

  def step(
    state: TrainState, batch: Batch
  ) -> tuple[TrainState, dict[str, Any]]:
    with nn.intercept_methods(sharding.rows_over_data(run.mesh)):
      new_state, metrics = step_lib.update(
        task,
        optimizer,
        state,
        batch,
        key,
        config.micro_batches,
        read=lambda batch: views.augment(task.views, batch, size),
        watch=functools.partial(watch, state.step),
      )
    metrics["learning_rate"] = jnp.asarray(schedule(state.step))
    return new_state, metrics

  def watch(step: jax.Array, gradients: Any) -> dict[str, Any]:
    if not config.histograms_every:
      return {}
    counts = histograms.every(config.histograms_every, step, gradients)
    return {histograms.NAME: jax.lax.with_sharding_constraint(counts, whole)}

  # By default XLA drops mesh axes of size 1 from the state's shardings, so that
  # the second step would be compiled again.
  out = (run.shardings, None)
  return jax.jit(step, donate_argnums=0, out_shardings=out)


def make_batches(
  run: Run, examples_seen: int, faults: Faults
) -> Iterator[pipeline.Batch]:
  """Yields this process's batches from a position in the global order.

  Args:
    run: run to train.
    examples_seen: position, in examples over all processes.
    faults: counts of bad records, which are increased.

  Yields:
    Batches, before augmentation.
  """
  config, data = run.config, run.config.data
  task, e = run.task, build.encoder(config)
  shown = _display(task)
  if jax.process_count() > 1:
    shown = shown._replace(views=views.of_one_length(shown.views))
  make = pipeline.MakeBatch(
    run.sources,
    faults,
    shown,
    form=Form(data.canvas, data.white_border, data.upright),
    tokenizer=e.tokenizer(),
  )
  return pipeline.batches(
    run.sources,
    make,
    weights=tuple(data.weights) or (1.0,),
    batch_size=config.batch_size // jax.process_count(),
    seed=config.seed,
    examples_seen=examples_seen,
    threads=data.threads,
    prefetch=data.prefetch,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def make_health(run: Run, step: int, examples_seen: int) -> health_lib.Health:
  """Makes the monitor of a run.

  Args:
    run: run to train.
    step: number of steps done.
    examples_seen: position in the global order after these steps.

  Returns:
    Monitor, which can name the records of later steps.
  """
  size, seed, task = run.config.batch_size, run.config.seed, run.task
  weights = tuple(run.config.data.weights) or (1.0,)

  def names(which: int) -> list[str]:
    first = examples_seen + (which - step - 1) * size
    positions = range(first, first + size)
    return pipeline.names(run.sources, weights, seed, positions, _display(task))

  return health_lib.Health(
    run.workdir, run.config.max_bad_steps, names, task.rules.bounds
  )


def _display(task: Task) -> Display:
  """Selects what the loader needs of a task."""
  return Display(task.views, task.draws, task.show)


def _model(run: Run, variables: Any) -> HyperCLIP:
  config = run.config
  options = config_lib.options(config)
  return HyperCLIP(
    config.system, options, variables, trust_system=config.trust_system
  )
