"""The command line: parse, call one flow or one function of `badc`, print."""
