"""What scripts/torture does: nothing that was acknowledged is lost, whatever is killed.

A run makes a site below a temporary directory, starts the daemon and two followers on it, lets
clients change it, kills one of the processes or the database with SIGKILL at a random moment,
starts it again, and compares: what clients were told, what the database holds, what lies on disk.

Every process is a real one that is ended by its id, and everything is what an operator would
start; only the start of Python is saved, see `nursery`. Nothing here is imported by vpopsql.
"""


class TortureFailed(Exception):
    """A run cannot go on, which says nothing about vpopsql; the text says why."""


class Defect(Exception):
    """Something was lost, half done, or not as it should be; the text says what."""
