"""How a model is learnt: methods, losses, one training loop, recipes and runs."""

from vlm_finetune.finetuning import finetune as finetune
from vlm_finetune.recipe import Recipe as Recipe
from vlm_finetune.run import Run as Run
from vlm_finetune.run import open_run as open_run
