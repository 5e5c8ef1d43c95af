"""A whole dataset: which of its recordings are to be analysed, what that is called elsewhere, and what follows."""
