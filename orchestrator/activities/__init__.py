"""The activities. Temporal may call each again after its effect, if its answer was lost."""
