"""The UCI HAR data set and the raw recordings that it was made from."""
