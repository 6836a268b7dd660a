"""Activities from what a phone recorded, or is recording."""
