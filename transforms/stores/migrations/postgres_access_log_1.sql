CREATE TABLE entries (
    position bigint PRIMARY KEY,
    at bigint NOT NULL,
    actor text NOT NULL,
    role text NOT NULL,
    purpose text NOT NULL,
    domain text NOT NULL,
    token_ref bytea NOT NULL CHECK (octet_length(token_ref) = 16),
    subject_ref bytea CHECK (octet_length(subject_ref) = 16),
    decision text NOT NULL CHECK (decision IN ('allowed', 'refused')),
    rule text NOT NULL,
    shown text,
    chain bytea NOT NULL CHECK (octet_length(chain) = 32)
);
CREATE INDEX entries_by_subject ON entries (subject_ref);
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only';
END $$;
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER entries_remain BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION append_only();
