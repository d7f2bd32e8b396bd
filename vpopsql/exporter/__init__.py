"""From the database to the files that qmail and vpopmail read.

::

    rows ──snapshot.take──> Snapshot ──render──> {path: content} ──apply──> files
       one read transaction            pure               lock, skip equal, ordered writes

What a plan or a verification needs is the same first two steps with another third; a `Projector`
takes the rows of a change only, and writes what it touched.
"""
