"""Synthetic vpopmail sites: the programs behind scripts/make_site, and sites for scripts/bench.

::

    synthesis ──> shape.Domain, one after the other ──┬──> tree   files of vpopmail and qmail
                                                      └──> dump   SQL for MySQL and PostgreSQL

`shape` says what a site consists of; `synthesis` makes one of any size up, the same one whenever
it is asked for the same; `tree` and `dump` write it down, a domain at a time, so that memory does
not grow with the site. Nothing here is imported by vpopsql.
"""
