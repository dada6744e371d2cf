"""The self-contained page and the pictures of a run, from its directory alone."""

from vlm_eval.report.page import write_figures as write_figures
from vlm_eval.report.page import write_report as write_report
