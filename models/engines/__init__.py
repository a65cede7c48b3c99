"""Engines: a bundle made executable, behind one protocol."""
