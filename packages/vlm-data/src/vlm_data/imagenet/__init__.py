"""ImageNet and the test sets that go with it: classes, and where the files lie."""
