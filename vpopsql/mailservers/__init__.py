"""Configurations of other mail servers, which read the same database.

The templates beside this module are what a site gets; `files` fills them in, and tests run Dovecot
and Postfix with the result.
"""
