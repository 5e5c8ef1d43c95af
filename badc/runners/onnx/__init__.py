"""Waveform classifiers that are ONNX files."""
