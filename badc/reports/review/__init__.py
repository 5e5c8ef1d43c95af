"""From detections to what a person says of them: clips to check by ear, and how often the classifier is right."""
