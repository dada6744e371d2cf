"""Strategies of discovery, one file each: `score` says which clusters pass, and what ranks them."""
