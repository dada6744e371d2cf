"""`python -m vlm_cli`, for launchers that want a module."""

from vlm_cli.main import main

if __name__ == "__main__":
    main()
