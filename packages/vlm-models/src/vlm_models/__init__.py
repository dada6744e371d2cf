"""What is learnt: encoders, heads, checkpoints and weight arithmetic behind one protocol."""

from vlm_models.catalog import load_encoder as load_encoder
from vlm_models.catalog import load_model as load_model
from vlm_models.checkpoint import save_model as save_model
