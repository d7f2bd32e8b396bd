-- What Dovecot may do, on PostgreSQL; written by `vpopsql mailserver dovecot`.
-- Run it in vpopsql's database, then set a password: \password @ROLE@
CREATE ROLE @ROLE@ LOGIN;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO @ROLE@', current_schema());
END $$;
GRANT SELECT ON dovecot_users, ip_alias_map TO @ROLE@;
@MAY_READ_CLEAR@-- No row of it is ever kept: a trigger notes the login.
GRANT SELECT, INSERT, UPDATE ON dovecot_logins TO @ROLE@;
