"""Models of this project in the layouts of other libraries."""

from vlm_models.export.writing import LAYOUTS as LAYOUTS
from vlm_models.export.writing import export_huggingface as export_huggingface
from vlm_models.export.writing import export_open_clip as export_open_clip
