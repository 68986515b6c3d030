"""`python -m hyperclip_jax COMMAND ...` is `hyperclip COMMAND ...`."""

from hyperclip_jax.main import start

if __name__ == "__main__":
  start()
