"""Tables that runs write and later work reads: one row per sample, parquet, self-describing."""

from vlm_data.tables.predictions import Predictions as Predictions
from vlm_data.tables.rationales import Rationales as Rationales
from vlm_data.tables.regions import Regions as Regions
