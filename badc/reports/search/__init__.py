"""The windows of many recordings that sound most like a clip."""
