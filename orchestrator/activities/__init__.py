"""What a run does to the world: each activity may be tried again after its effect and before its answer."""
