"""The commands for the objects of a site, such as ``vpopsql user add``.

One module a noun, each with the same verbs: add, list, show, modify, rename, delete, as far as the
noun has them. They call the services that the daemon calls, in one transaction each, and let the
files follow as the daemon does: see `site`.

Exit codes: 0 done; 1 refused, or there is no such thing; 2 wrong usage; 3 could not run
(configuration, database, files).
"""
