"""The Prefect flows, and `flows.cli`, the command line that starts them."""
