"""What scripts/soak does: a gentle load for long, of all kinds, under which nothing may grow.

A run makes a site below a temporary directory and starts the daemon on it, as an operator would.
Clients look up and change what is theirs alone, so that of every answer it is known what it must
be; beside them are those who guess, vanish, read or write slowly, or say nothing. What is added is
deleted again. The run rests twice, after a warm-up and at the end: nobody is connected then, and
what the daemon has must be the same.
"""


class Wrong(Exception):
    """An answer is not the one that it must be; the text says which."""
