"""A harness that breaks a whole installation at random, and watches what its readers see meanwhile."""
