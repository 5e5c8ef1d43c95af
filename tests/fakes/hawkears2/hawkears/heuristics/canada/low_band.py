from hawkears.core.analyzer import ClassManager, Predictor

__all__ = ["ClassManager", "Predictor"]
