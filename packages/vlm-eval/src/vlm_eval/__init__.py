"""How good a model is: predictions, accuracy, calibration, robustness, reports."""
