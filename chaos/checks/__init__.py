"""What is checked: during the run, at its end, and in the files that it leaves."""
