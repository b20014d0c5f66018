"""What the commands of `cli.py` do with many files, processes and formats."""
