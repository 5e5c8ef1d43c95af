"""What is known of species apart from the audio: their names, and where and when they occur."""
