"""What the operating system keeps from a process that runs a view's SQL."""
