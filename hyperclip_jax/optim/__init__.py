"""Optax gradient transformations and learning rate schedules."""
