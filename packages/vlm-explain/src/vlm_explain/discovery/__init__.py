"""What a model learned instead: features of regions that its errors go with (RaVL, Varma et al. 2024)."""
