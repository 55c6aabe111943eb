"""A test harness that injects faults into a whole installation at random, and checks what its readers observe."""
