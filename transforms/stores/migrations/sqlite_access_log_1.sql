CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    purpose TEXT NOT NULL,
    domain TEXT NOT NULL,
    token_ref BLOB NOT NULL CHECK (length(token_ref) = 16),
    subject_ref BLOB CHECK (length(subject_ref) = 16),
    decision TEXT NOT NULL CHECK (decision IN ('allowed', 'refused')),
    rule TEXT NOT NULL,
    shown TEXT,
    chain BLOB NOT NULL CHECK (length(chain) = 32)
);
CREATE INDEX entries_by_subject ON entries (subject_ref);
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
