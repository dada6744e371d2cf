"""One file per family: the file name is what users write before the colon of a model spec."""
