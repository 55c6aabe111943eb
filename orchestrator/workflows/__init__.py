"""What happens in which order, and nothing else: deterministic code that Temporal replays."""
