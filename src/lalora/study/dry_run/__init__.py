"""What a study would take, and what it would be refused for: for `--dry-run`."""
