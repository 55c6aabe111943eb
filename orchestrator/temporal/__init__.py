"""The Temporal server: its client, schedules and executions, and the names that both sides of it agree on."""
