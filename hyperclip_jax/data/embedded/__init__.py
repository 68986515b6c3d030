"""Data sets that are made here: coloured shapes and a few photographs."""
