CREATE TABLE entries (
    domain TEXT NOT NULL,
    token TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    event_time INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (domain, token, key_version, subject)
) WITHOUT ROWID;
CREATE INDEX entries_by_subject ON entries (subject);
-- One row: what of the ledger, and which rules, the entries have been judged by, and how often some were removed.
CREATE TABLE applied (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    head BLOB NOT NULL,
    at INTEGER NOT NULL,
    rules TEXT NOT NULL,
    purges INTEGER NOT NULL
);
