"""The live runtime: audio in, emotion events out."""
