"""The schemas of vpopmail's SQL tables that sites have, for `tests.importer.sqlsites` to fill."""

from collections.abc import Mapping
from typing import NamedTuple


class Schema(NamedTuple):
    """The statements that make the tables; ``accounts`` has a place for the table's name.

    ``renamed`` are columns that have another name there than in the rows.
    """

    accounts: str
    others: str
    by_domain: bool = False
    renamed: Mapping[str, str] = {}

    @property
    def statements(self) -> list[str]:
        """The statements that make all tables but those of accounts."""
        return [each.strip() for each in self.others.split(";") if each.strip()]


_COUNTER = """
CREATE TABLE dir_control (domain VARCHAR(96) NOT NULL, cur_users INT, level_cur INT, level_max INT,
  level_start0 INT, level_start1 INT, level_start2 INT, level_end0 INT, level_end1 INT,
  level_end2 INT, level_mod0 INT, level_mod1 INT, level_mod2 INT, level_index0 INT,
  level_index1 INT, level_index2 INT, the_dir VARCHAR(160), PRIMARY KEY (domain))
"""
_LIMITS = """
CREATE TABLE limits (domain VARCHAR(96) PRIMARY KEY, maxpopaccounts INT(10) NOT NULL DEFAULT -1,
  maxaliases INT(10) NOT NULL DEFAULT -1, maxforwards INT(10) NOT NULL DEFAULT -1,
  maxautoresponders INT(10) NOT NULL DEFAULT -1, maxmailinglists INT(10) NOT NULL DEFAULT -1,
  diskquota BIGINT UNSIGNED NOT NULL DEFAULT 0, maxmsgcount BIGINT UNSIGNED NOT NULL DEFAULT 0,
  defaultquota BIGINT UNSIGNED NOT NULL DEFAULT 0,
  defaultmaxmsgcount BIGINT UNSIGNED NOT NULL DEFAULT 0, disable_pop TINYINT(1) NOT NULL DEFAULT 0,
  disable_imap TINYINT(1) NOT NULL DEFAULT 0, disable_dialup TINYINT(1) NOT NULL DEFAULT 0,
  disable_passwordchanging TINYINT(1) NOT NULL DEFAULT 0,
  disable_webmail TINYINT(1) NOT NULL DEFAULT 0, disable_relay TINYINT(1) NOT NULL DEFAULT 0,
  disable_smtp TINYINT(1) NOT NULL DEFAULT 0,{newer}
  perm_account TINYINT(2) NOT NULL DEFAULT 0, perm_alias TINYINT(2) NOT NULL DEFAULT 0,
  perm_forward TINYINT(2) NOT NULL DEFAULT 0, perm_autoresponder TINYINT(2) NOT NULL DEFAULT 0,
  perm_maillist TINYINT(4) NOT NULL DEFAULT 0, perm_quota TINYINT(2) NOT NULL DEFAULT 0,
  perm_defaultquota TINYINT(2) NOT NULL DEFAULT 0)
"""
_NEWER_LIMITS = """
  disable_spamassassin TINYINT(1) NOT NULL DEFAULT 0, delete_spam TINYINT(1) NOT NULL DEFAULT 0,
  disable_maildrop TINYINT(1) NOT NULL DEFAULT 0,"""

_VALIAS = """
CREATE TABLE valias (id BIGINT AUTO_INCREMENT PRIMARY KEY, alias VARCHAR(32) NOT NULL,
  domain VARCHAR(96) NOT NULL, valias_line TEXT NOT NULL, INDEX (alias, domain));
"""
_ALIASDOMAINS = """
CREATE TABLE aliasdomains (alias VARCHAR(100) NOT NULL, domain VARCHAR(100) NOT NULL,
  PRIMARY KEY (alias));
"""
_MYSQL_OTHERS = f"""
{_LIMITS.format(newer=_NEWER_LIMITS)};
{_COUNTER};
CREATE TABLE lastauth (user VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL,
  remote_ip VARCHAR(39) NOT NULL, timestamp INT DEFAULT 0 NOT NULL, PRIMARY KEY (user, domain));
CREATE TABLE ip_alias_map (ip_addr VARCHAR(39) NOT NULL, domain VARCHAR(96),
  PRIMARY KEY (ip_addr));
CREATE TABLE vlog (id BIGINT AUTO_INCREMENT PRIMARY KEY, user VARCHAR(32), passwd VARCHAR(32),
  domain VARCHAR(96), logon VARCHAR(200), remoteip VARCHAR(39), message VARCHAR(255),
  timestamp BIGINT NOT NULL DEFAULT 0, error INT, INDEX user_idx (user));
CREATE TABLE relay (ip_addr VARCHAR(39) NOT NULL, timestamp INT, PRIMARY KEY (ip_addr));
"""

MYSQL = Schema(
    accounts="""
CREATE TABLE {} (pw_name VARCHAR(64) NOT NULL, pw_domain VARCHAR(96) NOT NULL,
  pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT, pw_gecos VARCHAR(64), pw_dir VARCHAR(160),
  pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128), PRIMARY KEY (pw_name, pw_domain))
""",
    others=f"{_VALIAS}{_ALIASDOMAINS}{_MYSQL_OTHERS}",
)
"""What vpopmail 5.6 makes, with readable passwords."""

MYSQL_BY_DOMAIN = MYSQL._replace(
    accounts="""
CREATE TABLE {} (pw_name VARCHAR(64) NOT NULL, pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT,
  pw_gecos VARCHAR(64), pw_dir VARCHAR(160), pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128),
  PRIMARY KEY (pw_name))
""",
    by_domain=True,
)
"""A table for each domain."""

MYSQL_SHIPPED = Schema(
    accounts="""
CREATE TABLE {} (id INT(11) NOT NULL AUTO_INCREMENT, pw_name CHAR(64) NOT NULL DEFAULT '',
  pw_domain CHAR(96) NOT NULL DEFAULT '', pw_passwd CHAR(128) DEFAULT NULL,
  pw_uid INT(11) DEFAULT NULL, pw_gid INT(11) DEFAULT NULL, pw_gecos CHAR(64) DEFAULT NULL,
  pw_dir CHAR(160) DEFAULT NULL, pw_shell CHAR(20) DEFAULT NULL,
  pw_clear_passwd CHAR(128) DEFAULT NULL, my_uid INT(11) NOT NULL DEFAULT 89,
  my_gid INT(11) NOT NULL DEFAULT 89, PRIMARY KEY (id), UNIQUE KEY name (pw_name, pw_domain))
  ENGINE=InnoDB DEFAULT CHARSET=utf8
""",
    others=f"""
CREATE TABLE valias (id INT AUTO_INCREMENT PRIMARY KEY, valias_type TINYINT(1) NOT NULL DEFAULT 1,
  alias VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL, valias_line TEXT NOT NULL,
  copy TINYINT(1) NOT NULL DEFAULT 0, INDEX (alias, domain));
CREATE TABLE aliasdomains (alias CHAR(96) NOT NULL PRIMARY KEY, domain CHAR(96) NOT NULL);
{_MYSQL_OTHERS}
""",
)
"""What vpopmail's own sql files make, with the columns that no program of its own needs."""

MYSQL_OLD = Schema(
    accounts="""
CREATE TABLE {} (pw_name CHAR(32) NOT NULL, pw_domain CHAR(64) NOT NULL, pw_passwd CHAR(128),
  pw_uid INT, pw_gid INT, pw_gecos CHAR(48), pw_dir CHAR(160), pw_shell CHAR(20),
  PRIMARY KEY (pw_name, pw_domain)) ENGINE=MyISAM CHARSET=latin1
""",
    others=f"""
CREATE TABLE valias (alias CHAR(32) NOT NULL, domain CHAR(64) NOT NULL, valias_line TEXT NOT NULL,
  INDEX (alias, domain)) ENGINE=MyISAM CHARSET=latin1;
{_LIMITS.format(newer="").replace("VARCHAR", "CHAR")} ENGINE=MyISAM CHARSET=latin1;
{_COUNTER.replace("VARCHAR", "CHAR")} ENGINE=MyISAM CHARSET=latin1;
CREATE TABLE lastauth (user CHAR(32) NOT NULL, domain CHAR(64) NOT NULL,
  remote_ip CHAR(18) NOT NULL, timestamp BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (user, domain))
  ENGINE=MyISAM CHARSET=latin1;
CREATE TABLE ip_alias_map (ip_addr CHAR(18) NOT NULL, domain CHAR(64), PRIMARY KEY (ip_addr))
  ENGINE=MyISAM CHARSET=latin1;
CREATE TABLE vlog (id BIGINT AUTO_INCREMENT PRIMARY KEY, user CHAR(32), passwd CHAR(32),
  domain CHAR(96), logon VARCHAR(200), remoteip CHAR(18), message VARCHAR(255),
  timestamp BIGINT NOT NULL DEFAULT 0, error INT) ENGINE=MyISAM CHARSET=latin1;
""",
)
"""What an old vpopmail made on an old server: padded columns, latin1, no transactions."""

PGSQL = Schema(
    accounts="""
CREATE TABLE "{}" (pw_name VARCHAR(64) NOT NULL, pw_domain VARCHAR(96) NOT NULL,
  pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT, pw_gecos VARCHAR(64), pw_dir VARCHAR(160),
  pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128), PRIMARY KEY (pw_domain, pw_name))
""",
    others=f"""
CREATE TABLE valias (alias VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL,
  valias_line VARCHAR(160) NOT NULL);
CREATE INDEX valias_idx ON valias (alias, domain);
{_COUNTER};
CREATE TABLE lastauth (userid VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL,
  remote_ip VARCHAR(18) NOT NULL, timestamp BIGINT DEFAULT 0 NOT NULL,
  PRIMARY KEY (userid, domain));
CREATE TABLE ip_alias_map (ip_addr VARCHAR(18) NOT NULL PRIMARY KEY, domain VARCHAR(96));
CREATE TABLE vlog (id BIGINT PRIMARY KEY DEFAULT 1, userid CHAR(32), passwd CHAR(32),
  domain CHAR(96), logon VARCHAR(200), remoteip CHAR(18), message VARCHAR(255),
  timestamp BIGINT NOT NULL DEFAULT 0, error INT);
CREATE TABLE relay (ip_addr CHAR(18) NOT NULL, timestamp BIGINT, PRIMARY KEY (ip_addr));
""",
    renamed={"user": "userid"},
)
"""What vpopmail makes in PostgreSQL, with readable passwords; limits are files."""

PGSQL_OLD = PGSQL._replace(
    accounts="""
CREATE TABLE "{}" (pw_name CHAR(64) NOT NULL, pw_domain CHAR(96) NOT NULL, pw_passwd CHAR(128),
  pw_uid INT, pw_gid INT, pw_gecos CHAR(64), pw_dir CHAR(160), pw_shell CHAR(20),
  PRIMARY KEY (pw_name, pw_domain))
""",
    others=PGSQL.others.replace("VARCHAR", "CHAR"),
)
"""With columns that are filled up with blanks, without readable passwords."""

PGSQL_BY_DOMAIN = PGSQL._replace(
    accounts="""
CREATE TABLE "{}" (pw_name VARCHAR(64) NOT NULL, pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT,
  pw_gecos VARCHAR(64), pw_dir VARCHAR(160), pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128),
  PRIMARY KEY (pw_name))
""",
    by_domain=True,
)
"""A table for each domain."""
