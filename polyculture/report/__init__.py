"""Self-contained HTML pages: what a pool was, what was chosen, and why."""
