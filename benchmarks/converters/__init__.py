"""Other people's converters, each in a process of its own, and what comes out of them."""
