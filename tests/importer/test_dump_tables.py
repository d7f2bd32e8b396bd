"""Tables that a dump lacks, or that are another program's."""

from pathlib import Path

from tests.importer import support
from tests.importer.damage import HOME, Unpack, of
from vpopsql.importer.codes import Code
from vpopsql.importer.origin import Store

DUMP = f"""\
-- MariaDB dump 10.19
CREATE TABLE `vpopmail` (
  `pw_name` char(64) NOT NULL,
  `pw_domain` char(96) NOT NULL,
  `pw_passwd` char(128) DEFAULT NULL,
  `pw_uid` int(11) DEFAULT NULL,
  `pw_gid` int(11) DEFAULT NULL,
  `pw_gecos` char(64) DEFAULT NULL,
  `pw_dir` char(160) DEFAULT NULL,
  `pw_shell` char(20) DEFAULT NULL,
  PRIMARY KEY (`pw_name`,`pw_domain`)
);
INSERT INTO `vpopmail` VALUES
  ('al','example.com','*',1,0,'al','{HOME.decode()}/al','NOQUOTA');
CREATE TABLE `lastauth` (
  `who` char(96) NOT NULL,
  `since` int(11) DEFAULT NULL
);
-- Dump completed on 2026-11-22  8:00:00
"""


def test_tables_that_are_missing_or_another_program_s_are_named(
    unpack: Unpack, tmp_path: Path
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(DUMP)

    _, evidence = support.read_tables(Store.MYSQL, str(dump), unpack("base"))

    (missing,) = of(evidence, Code.NO_TABLE)
    assert missing.file == str(dump)
    assert missing.reason.startswith("there is no table valias")
    (foreign,) = of(evidence, Code.FOREIGN_TABLE)
    assert foreign.file.endswith("lastauth")
    assert foreign.reason == "its columns are not vpopmail's"
