"""vpopmail's SQL back ends, MySQL and PostgreSQL, as a source of an import.

::

    live database ──live──┐
                          ├── rows ──> staging (one SQLite file) ──> TablesBackend, per domain
    dump in a file ─dump──┘                                    └──> shared_rows, for the site

Every row that is wanted is copied once, in the order it came, into a scratch file that any number
of processes can ask about a domain. What the rows say is judged only then, so a dump and the
database it was made of are one and the same from there on. The domains themselves come from
``users/assign``: these tables do not have them.

`schema` says which tables and columns there are. Nothing here writes to the source.
"""
