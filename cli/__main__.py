"""`python -m cli` is `coord`: how a process of ours starts another."""

from cli.main import main

if __name__ == "__main__":
    main()
