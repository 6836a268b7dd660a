"""Many trainings of held-out subjects, in parallel and resumable: cross-validation and searches over recipes."""
