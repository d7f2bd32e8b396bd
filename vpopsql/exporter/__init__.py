"""From the database to the files that qmail and vpopmail read.

::

    rows ──snapshot.take──> Snapshot ──render──> {path: content} ──apply──> files
       one read transaction            pure               lock, skip equal, ordered writes

What a plan, a verification or a follower needs is the same first two steps with another third.
"""
