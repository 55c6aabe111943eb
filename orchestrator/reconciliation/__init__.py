"""Makes Temporal and the store match the catalog: one view's schedule and runs, and all of them at intervals."""
