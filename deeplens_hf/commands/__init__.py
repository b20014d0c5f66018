"""What the commands of `cli.py` do: with arguments, many photos, worker processes, graphs and the Hub."""
