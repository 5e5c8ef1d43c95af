"""The Prefect flows, and in `flows.cli` the command line in front of them."""
