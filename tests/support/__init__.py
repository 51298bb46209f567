"""Models, rows and runs that several test files share."""
