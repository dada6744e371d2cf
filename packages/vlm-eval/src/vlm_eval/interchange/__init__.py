"""Result files of other programs; one file here is one format, and its name is the name of the format.

Each defines `SUMMARY` (one line), `recognises(text)`, `read(path, text)` and `write(rows, target)`, see
`vlm_eval.foreign_results`.
"""
