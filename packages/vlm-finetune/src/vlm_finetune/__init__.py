"""How a model is learnt: methods, losses, one training loop, recipes and runs.

Names are imported when they are first used, so that `import vlm_finetune.losses` does not pay for the loop.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_finetune.finetuning import finetune as finetune
    from vlm_finetune.recipe import Recipe as Recipe
    from vlm_finetune.run import Run as Run
    from vlm_finetune.run import open_run as open_run

_HOMES = {"finetune": "finetuning", "Recipe": "recipe", "Run": "run", "open_run": "run"}
__all__ = ["Recipe", "Run", "finetune", "open_run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
