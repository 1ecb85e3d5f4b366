-- What was applied goes forward only, whoever notes it: roles may call this and write the table in no other way.
CREATE FUNCTION note_applied(to_position bigint, to_head bytea, to_at bigint, to_rules text, to_purges bigint)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    noted applied%ROWTYPE;
BEGIN
    LOCK TABLE applied IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO noted FROM applied;
    IF FOUND AND (
        to_position < noted.position OR to_at < noted.at OR to_purges < noted.purges
        OR (to_position = noted.position AND to_head <> noted.head)
    ) THEN
        RAISE EXCEPTION 'what was applied goes forward only';
    END IF;
    INSERT INTO applied VALUES (1, to_position, to_head, to_at, to_rules, to_purges)
    ON CONFLICT (one) DO UPDATE SET position = to_position, head = to_head, at = to_at, rules = to_rules,
        purges = to_purges;
END $$;
REVOKE ALL ON FUNCTION note_applied(bigint, bytea, bigint, text, bigint) FROM PUBLIC;
-- Outputs of all machines, until they are forgotten: by the run that makes them, and what their tokens need.
CREATE TABLE outputs (
    machine text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    dataset text NOT NULL,
    published boolean NOT NULL,
    noted_at bigint NOT NULL,
    needs text NOT NULL,
    PRIMARY KEY (machine, place, run)
);
-- One row: whether the list has all outputs whose tokens are in the vault; not where others made some before it began.
CREATE TABLE outputs_listed (complete boolean NOT NULL);
INSERT INTO outputs_listed SELECT NOT EXISTS (SELECT FROM applied);
