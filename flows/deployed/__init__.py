"""The flows as Prefect's UI starts them, with their forms."""
