"""Parts of old_runtime.py: the old runtime, the files to run, and their input."""
