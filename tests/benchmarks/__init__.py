"""What the server adds to every request, measured: `python -m tests.benchmarks --help`."""
