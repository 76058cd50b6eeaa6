"""Command line: thin typer commands that parse, call and print."""
