"""What the commands of `vlm spurious` share: choices of the user, the search, tables of what was found."""
