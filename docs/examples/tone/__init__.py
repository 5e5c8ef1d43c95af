"""Tones, as the documentation's example of a runner."""
