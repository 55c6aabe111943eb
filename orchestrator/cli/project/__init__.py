"""Projects in files: `matview init`, `plan`, `apply`, `export`."""
