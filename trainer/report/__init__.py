"""The report of an evaluation: JSON for machines, Markdown for the repository, one HTML file for people."""
