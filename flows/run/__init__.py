"""What surrounds a flow run: how it is started, stopped, and told to Prefect."""
