-- The chain runs over ``entry``; event_id and subject stand beside it for look-ups and are checked against it.
CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    entry BLOB NOT NULL,
    chain BLOB NOT NULL CHECK (length(chain) = 32)
);
CREATE INDEX entries_by_subject ON entries (subject);
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
