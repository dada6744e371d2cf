"""How good a model is: predictions, accuracy, calibration, robustness, reports.

Names are imported when they are first used, so that `import vlm_eval.metrics` needs neither PyTorch nor matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_eval.prediction import predict as predict
    from vlm_eval.scores import mean_over_shifts as mean_over_shifts
    from vlm_eval.scores import score as score
    from vlm_eval.scores import score_group as score_group
    from vlm_eval.scores import score_tables as score_tables

_HOMES = {
    "mean_over_shifts": "scores",
    "predict": "prediction",
    "score": "scores",
    "score_group": "scores",
    "score_tables": "scores",
}
__all__ = ["mean_over_shifts", "predict", "score", "score_group", "score_tables"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
