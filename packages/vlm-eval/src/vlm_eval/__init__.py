"""How good a model is: predictions, accuracy, calibration, robustness, reports."""

from vlm_eval.scores import mean_over_shifts as mean_over_shifts
from vlm_eval.scores import score as score
from vlm_eval.scores import score_group as score_group
from vlm_eval.scores import score_tables as score_tables
