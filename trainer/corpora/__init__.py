"""Corpora and the manifest every one of them becomes."""
