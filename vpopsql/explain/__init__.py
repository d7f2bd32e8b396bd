"""What happens to mail for an address, and who may log in how: step by step, with the evidence.

Rows become an explanation without any file (`explanation`, over `rows`, `routing`, `mail`,
`delivery`, `login`); each step says what must stand in which file (`claims`), and `files` compares
that with the disk. Nothing here changes anything, and no password or hash leaves it.
"""
