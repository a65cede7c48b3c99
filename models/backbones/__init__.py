"""Frozen pretrained encoders that turn audio or text into feature sequences."""
