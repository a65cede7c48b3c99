"""The ground of the house: what both wings need to describe, load and run an ensemble."""
