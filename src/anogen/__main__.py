"""`python -m anogen`."""

from anogen.cli.main import run

if __name__ == "__main__":
    run()
