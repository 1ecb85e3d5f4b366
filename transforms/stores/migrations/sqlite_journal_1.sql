-- What a stream has done. Epochs but the newest are only kept to be looked at; what they came to is in the other tables.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('open', 'sealed', 'done')),
    plan TEXT NOT NULL,
    files TEXT,
    account TEXT
);
CREATE TABLE offsets (
    topic TEXT NOT NULL CHECK (topic IN ('records', 'consents')),
    partition TEXT NOT NULL,
    next INTEGER NOT NULL CHECK (next >= 0),
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    receipt TEXT NOT NULL,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE counts (
    counted TEXT PRIMARY KEY,
    total INTEGER NOT NULL
) WITHOUT ROWID;
