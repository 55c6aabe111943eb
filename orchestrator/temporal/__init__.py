"""The adapter for the Temporal server: client, schedules and runs, and the names that Temporal stores."""
