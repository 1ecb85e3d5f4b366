-- A subject whose key was destroyed keeps a row without one, so that no new key is ever made.
CREATE TABLE subject_keys (
    subject BLOB NOT NULL PRIMARY KEY CHECK (length(subject) = 16),
    wrapped BLOB
) WITHOUT ROWID;
CREATE TABLE day_keys (
    day TEXT NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;
