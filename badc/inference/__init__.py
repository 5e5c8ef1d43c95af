"""One run of inference: its plan, what its workers do, and its books."""
