"""`python -m dsactl`."""

from dsactl.cli.main import main

if __name__ == "__main__":
    main()
