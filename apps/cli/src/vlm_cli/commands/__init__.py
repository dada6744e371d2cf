"""One file per verb: parse, call one library function, show. Heavy imports sit inside the functions."""
