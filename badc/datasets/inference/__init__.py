"""The inference of a whole dataset: which recordings are to be analysed, what that is called elsewhere, what follows."""
