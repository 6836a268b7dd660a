"""The commands, one module each: parse, call one function, print. Everything heavy is imported inside its command."""
