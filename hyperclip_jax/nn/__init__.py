"""Flax Linen layers of the image and text towers."""
