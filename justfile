# List the recipes.
default:
    @just --list

# Format the code.
fmt:
    uv run ruff format .
    uv run ruff check --fix .

# Formatting and lint.
lint:
    uv run ruff format --check .
    uv run ruff check .

# Static types.
types:
    uv run pyright

# Direction of imports between and inside packages.
imports:
    uv run lint-imports

# Tests and doctests, without the slow ones.
test *args:
    uv run pytest -n 2 {{args}}

# The slow tests: kill and resume, whole pre-training smoke runs, all methods on two processes.
test-slow *args:
    uv run pytest -m "slow and not gpu" {{args}}

# The tests of one package in an environment that holds only what it declares.
isolated package:
    uv run --isolated --package {{package}} --group test pytest tests/$(echo {{package}} | sed 's/^vlm-//') -n 0

# Build the documentation.
docs:
    uv run --group docs mkdocs build --strict

# Everything CI runs.
check:
    bash .ci/run
