"""From a vpopmail site into the database: read it, plan, insert, read back and compare.

::

    tree ──scan──> site.Site ──plan──> what is new, equal, in conflict ──apply──> rows
                      │                                                             │
                      └───────────────── compared, value by value ──<──stored───────┘

`site` says what a site is, wherever it was read from; `scan` and `domain` read a tree of the cdb
build, `stored` the database; `writable` says whether the export could write it. `evidence`
collects what is said about every line. Another kind of source needs a reader that gives a
`site.Site`; everything behind it stays.
"""
