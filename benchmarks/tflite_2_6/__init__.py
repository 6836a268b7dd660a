"""Parts of old_runtime.py: the oldest runtime itself, the files that it is to run, what they are asked."""
