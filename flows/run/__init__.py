"""What surrounds a flow run: its session, how it stops, its state in Prefect, its turn at the GPUs."""
