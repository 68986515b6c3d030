"""Validation of this code on a GPU; see `__main__`."""
