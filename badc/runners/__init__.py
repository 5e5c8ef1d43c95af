"""The classifiers. A runner is a folder of its own."""
