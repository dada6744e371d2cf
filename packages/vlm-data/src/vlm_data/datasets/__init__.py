"""One file per data set or reader: the file name is what users write before the colon."""
