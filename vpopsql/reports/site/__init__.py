"""A site of HTML pages about a mail site: an overview, a page a report, a page a domain.

::

    DIR/
    ├── index.html               the overview: figures, what needs attention, charts, all reports
    ├── reports/NAME.html        the first rows of each report
    ├── domains/index.html       all domains, 1,000 a page: 2.html, 3.html, ...
    ├── domains/ex/example.com.html
    └── .vpopsql-report          says that this directory is ours, and is locked while we write

`gather` asks the database, all of it in one snapshot and each report once; `figures` adds up on
the way; `overview`, `report_page` and `domain_page` make pages of values; `tables`, `charts` and
`frame` are what pages are made of; `publish` puts a whole new site in the place of the old one.

Pages need no network, no script and no file but themselves. All text that is not ours goes through
`frame.escape`. They have personal data: nobody but the owner and his group may read them.
"""
