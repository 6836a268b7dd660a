"""The official preprocessing: raw acceleration and angular velocity to the nine channels."""
