"""Pictures of digits: the glyph bank, how a digit is put on a canvas, its colours and its corruptions.

The embedded benchmark and the pre-training of the embedded model are both drawn with these modules. Everything is
plain single-threaded numpy with explicit generators, so that a seed gives the same pixels on any number of cores.
"""
