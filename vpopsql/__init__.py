"""vpopsql keeps the domains and mailboxes of a qmail site in a SQL database.

The database is the only truth; every file that qmail or vpopmail's tools read is a projection
of it. What lies where, and which module may import which, is told in README.md under *Layout*.
"""

__version__ = "0.1.0.dev0"
