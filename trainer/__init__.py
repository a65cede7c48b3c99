"""Training: from corpora to a bundle, in four stages."""
