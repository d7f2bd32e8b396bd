-- What Postfix may do, on PostgreSQL; written by `vpopsql mailserver postfix`.
-- Run it in vpopsql's database, then set a password: \password @ROLE@
CREATE ROLE @ROLE@ LOGIN;
ALTER ROLE @ROLE@ SET default_transaction_read_only = on;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO @ROLE@', current_schema());
END $$;
GRANT SELECT ON postfix_domains, postfix_mailboxes, postfix_aliases, postfix_recipients,
    postfix_wildcards, postfix_senders TO @ROLE@;
