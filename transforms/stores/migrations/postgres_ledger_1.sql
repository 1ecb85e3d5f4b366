-- The chain runs over ``entry``; event_id and subject stand beside it for look-ups and are checked against it.
CREATE TABLE entries (
    position bigint PRIMARY KEY,
    event_id bytea NOT NULL UNIQUE CHECK (octet_length(event_id) = 16),
    subject bytea NOT NULL CHECK (octet_length(subject) = 16),
    entry bytea NOT NULL,
    chain bytea NOT NULL CHECK (octet_length(chain) = 32)
);
CREATE INDEX entries_by_subject ON entries (subject);
ALTER TABLE entries ALTER COLUMN entry SET STATISTICS 0;
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only';
END $$;
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER entries_remain BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION append_only();
