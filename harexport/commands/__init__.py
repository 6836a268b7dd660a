"""The commands, one module each: parse options, call one function, print. Heavy imports are inside the functions."""
