CREATE TABLE entries (
    domain text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    key_version integer NOT NULL,
    subject bytea NOT NULL CHECK (octet_length(subject) = 16),
    event_time bigint NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (domain, token, key_version, subject)
) PARTITION BY HASH (domain);
CREATE INDEX entries_by_subject ON entries (subject);
-- Noise does not compress.
ALTER TABLE entries ALTER COLUMN sealed SET STORAGE EXTERNAL;
DO $$
BEGIN
    FOR part IN 0..7 LOOP
        -- Rows that are gone are cleaned up soon, however many are left.
        EXECUTE format(
            'CREATE TABLE entries_%s PARTITION OF entries FOR VALUES WITH (MODULUS 8, REMAINDER %s) '
            'WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50)', part, part
        );
    END LOOP;
END $$;
-- Else ANALYZE would keep samples of sealed values, whatever becomes of their rows.
ALTER TABLE entries ALTER COLUMN sealed SET STATISTICS 0;
-- One row: what of the ledger, and which rules, the entries have been judged by, and how often some were removed.
CREATE TABLE applied (
    one integer PRIMARY KEY CHECK (one = 1),
    position bigint NOT NULL,
    head bytea NOT NULL,
    at bigint NOT NULL,
    rules text NOT NULL,
    purges bigint NOT NULL
);
