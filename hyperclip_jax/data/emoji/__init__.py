"""Emoji, drawn by several vendors, as scenes in raw GRIT tars."""
