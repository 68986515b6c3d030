"""Grounds image-caption pairs: finds boxes for the phrases of captions."""
