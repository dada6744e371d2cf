"""The command line `vlm`: parse, call one library function, show."""
