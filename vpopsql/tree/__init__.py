"""The file tree of a site, and the only writer of files in vpopsql.

Paths are *site paths*: absolute, as qmail and vpopmail know them (``/home/vpopmail/domains/x``),
found below a root that is empty in production. The contract, kept by every method of `Tree`:

* No symbolic link below the root is followed, be it the last component or one on the way, be it
  there before or put there during the call. Each component is opened relative to the one before.
* A file has its old content or its new one, whole, at every moment; a crash can at most leave a
  file behind whose name starts with `TEMP_PREFIX`, and a failure leaves nothing behind.
* Errors are the operating system's (`OSError`, with the site path as ``filename``), except for
  `UnsafePath`, which is no OSError, so that "no such file" and "not allowed" stay apart.

Modes are exact: the umask has no say. What is new belongs, unless told otherwise, to the owner of
the directory it is in. Only root can give a file away; for anyone else owners are left as they
come. Linux only. Not safe against another program that writes the same file without the lock.
"""

from vpopsql.tree.listing import Entry, EntryType
from vpopsql.tree.openat import LinkInPath, Owner, UnsafePath
from vpopsql.tree.replaced import Replaced
from vpopsql.tree.tree import File, Tree
from vpopsql.tree.writing import TEMP_PREFIX, Write

__all__ = [
    "TEMP_PREFIX",
    "Entry",
    "EntryType",
    "File",
    "LinkInPath",
    "Owner",
    "Replaced",
    "Tree",
    "UnsafePath",
    "Write",
]
