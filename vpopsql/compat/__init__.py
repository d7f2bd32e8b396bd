"""vpopmail's own commands (``vadduser``, ``vuserinfo``, ...) for the habits and scripts of a site.

Each takes vpopmail's options and prints what vpopmail's prints, and does its work through the
services that the daemon uses: one transaction, one entry in the audit log, files that follow.
docs/compat-commands.md says which options there are, and where a command differs.

`main` finds the command; each lives in a module that loads the database only when it runs, so
that usage and mistakes on the command line cost nothing. Refusals go to standard output, as
vpopmail's do, and what keeps a command from running at all to standard error.
"""
