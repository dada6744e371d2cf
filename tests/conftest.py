from hypothesis import settings

# No deadline: on a busy machine a test may take longer than Hypothesis allows without being wrong.
# The same examples in every run: a failure seen once can be seen again.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
