"""Recognition: what is asked for, when, and how it is answered."""
