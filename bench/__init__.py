"""Speed as ratios to DuckDB itself. ``make bench``; figures and how to repeat them are in docs/benchmarks.md."""
