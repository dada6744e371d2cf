import os

from hypothesis import settings

# Before torch is imported: the models of the tests are too small to gain from threads, and on a busy machine threads
# that wait for each other take longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: on a busy machine a test may take longer than Hypothesis allows without being wrong.
# The same examples in every run: a failure seen once can be seen again.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
