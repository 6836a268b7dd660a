"""UCI HAR: download, official files, and windows rebuilt from the raw recordings."""
