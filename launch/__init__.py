"""Launchers: each starts `python -m hyperclip_jax.main` somewhere."""
