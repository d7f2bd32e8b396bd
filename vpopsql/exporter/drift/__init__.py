"""Whether the files of a site are what the database says, and making them so.

::

    snapshot ──render──> what should be ─┐
                                         ├─compare──> findings ──look again──> report ──repair──>
    files ────one pass of reading────────┘

`survey` looks, in several processes, and reports; `repair` mends what it is told to and nothing
else. Each kind of finding has a `codes.Code`, which says how bad it is and what to do about it.

What a change that is going on leaves for a moment is no finding: see `survey`.
"""
