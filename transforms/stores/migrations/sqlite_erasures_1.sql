-- Erasures of subjects. Nothing here names a person: references and marks are keyed, what is held back is sealed.
CREATE TABLE cases (
    id TEXT NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL UNIQUE CHECK (length(subject) = 16),
    state TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    account TEXT NOT NULL,
    certificate TEXT
) WITHOUT ROWID;
CREATE TABLE marks (
    mark BLOB NOT NULL CHECK (length(mark) = 16),
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    PRIMARY KEY (mark, subject)
) WITHOUT ROWID;
CREATE TABLE held (
    subject BLOB NOT NULL CHECK (length(subject) = 16),
    domain TEXT NOT NULL,
    until INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (subject, domain)
) WITHOUT ROWID;
