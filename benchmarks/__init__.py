"""Measurements of the rest of the house; nothing imports them."""
