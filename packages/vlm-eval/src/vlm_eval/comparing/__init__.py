"""How models and runs compare: paired tests, answers that changed, robustness beyond baselines, and the figures."""
