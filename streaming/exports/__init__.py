"""What `medusa analyze` finds, written for other programs and for people who would rather look than read."""
