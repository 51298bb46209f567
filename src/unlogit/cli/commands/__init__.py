"""One command a file: ``parser()`` says what its command line takes, ``run(given)`` does it.

Heavy imports stand inside the functions, so that ``unlogit COMMAND --help`` answers at once.
"""
