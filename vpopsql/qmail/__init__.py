"""The grammar of the files that qmail and vpopmail read: bytes to values and back.

Nothing here opens a file or knows SQL. Every parser is total: it returns one record for each line
of its input, `lines.Malformed` where the line says nothing, and raises on no content whatever.
Renderers are the strict side: a value that would not come back as itself raises `ValueError`.
"""
