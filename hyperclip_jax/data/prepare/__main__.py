"""python -m hyperclip_jax.data.prepare: see `run`."""

from hyperclip_jax.data.prepare import run

if __name__ == "__main__":
  run.main()
