"""Data sets that need no download: coloured shapes and a few photographs."""
