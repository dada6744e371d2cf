"""Evidence: what a right answer should rest on, as one mask per image, from polygons, boxes or mask files."""
