"""The workflows: the order of the steps and nothing else, in deterministic code that Temporal replays."""
