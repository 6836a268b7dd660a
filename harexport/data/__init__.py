"""The UCI HAR windows: from a path, from the UCI archive, or rebuilt from raw recordings."""
