"""Detections beside what people heard (`--truth`), and beside those of another run or classifier (`--other`)."""
