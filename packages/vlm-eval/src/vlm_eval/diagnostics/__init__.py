"""The geometry of image features: measured, kept in a file, and held against errors under shift."""
