"""One run of inference: what it is to do, what its workers do, and its books."""
