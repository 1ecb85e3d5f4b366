-- A subject whose key was destroyed keeps a row without one, so that no new key is ever made.
CREATE TABLE subject_keys (
    subject bytea NOT NULL PRIMARY KEY CHECK (octet_length(subject) = 16),
    wrapped bytea
) PARTITION BY HASH (subject);
DO $$
BEGIN
    FOR part IN 0..31 LOOP
        EXECUTE format(
            'CREATE TABLE subject_keys_%s PARTITION OF subject_keys FOR VALUES WITH (MODULUS 32, REMAINDER %s)',
            part, part
        );
    END LOOP;
END $$;
CREATE TABLE day_keys (
    day text COLLATE "C" NOT NULL PRIMARY KEY,
    expires_at bigint NOT NULL,
    wrapped bytea NOT NULL
);
-- Else ANALYZE would keep samples of keys, also of those that are destroyed.
ALTER TABLE subject_keys ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE day_keys ALTER COLUMN wrapped SET STATISTICS 0;

CREATE FUNCTION stay_destroyed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a destroyed key stays destroyed';
END $$;
CREATE TRIGGER keys_stay_destroyed BEFORE UPDATE ON subject_keys FOR EACH ROW
    WHEN (OLD.wrapped IS NULL AND NEW.wrapped IS NOT NULL) EXECUTE FUNCTION stay_destroyed();
CREATE TRIGGER subjects_remain BEFORE DELETE ON subject_keys FOR EACH ROW EXECUTE FUNCTION stay_destroyed();

-- Put the rows that are left of a table, or of a partition, into a new file, and let the old one go, in which keys
-- stand that were destroyed: neither an UPDATE nor VACUUM overwrites them. Called in a transaction of its own, after
-- that in which they were destroyed. Who reads the table meanwhile waits. Rows are read after the table is locked, by a
-- snapshot of that instant; one from before would bring destroyed keys back.
CREATE FUNCTION check_fresh_snapshots() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'only in a transaction that reads what is committed';
    END IF;
END $$;
CREATE FUNCTION forget_days() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    days text[];
    expiries bigint[];
    keys bytea[];
BEGIN
    PERFORM check_fresh_snapshots();
    LOCK TABLE day_keys IN ACCESS EXCLUSIVE MODE;
    SELECT array_agg(day), array_agg(expires_at), array_agg(wrapped) INTO days, expiries, keys FROM day_keys;
    TRUNCATE day_keys;
    INSERT INTO day_keys SELECT * FROM unnest(days, expiries, keys);
END $$;
CREATE FUNCTION forget_destroyed(place regclass) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = {schema}, pg_temp AS $$
DECLARE
    subjects bytea[];
    keys bytea[];
BEGIN
    PERFORM check_fresh_snapshots();
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = place AND inhparent = 'subject_keys'::regclass) THEN
        RAISE EXCEPTION 'no table of keys';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', place);
    EXECUTE format('SELECT array_agg(subject), array_agg(wrapped) FROM %s', place) INTO subjects, keys;
    EXECUTE format('TRUNCATE %s', place);
    EXECUTE format('INSERT INTO %s SELECT * FROM unnest($1, $2)', place) USING subjects, keys;
END $$;
REVOKE ALL ON FUNCTION forget_days() FROM PUBLIC;
REVOKE ALL ON FUNCTION forget_destroyed(regclass) FROM PUBLIC;
