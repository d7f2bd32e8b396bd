"""Named questions about a site and their answers: rows out, no printing and no writing.

Nearly every report is a query of one view ``report_*`` that the migrations make, so that any SQL
tool has the same answers; `registry` knows them all. What no database can know is asked of the
files in `files`. `text` makes lines of rows for people and programs.
"""
