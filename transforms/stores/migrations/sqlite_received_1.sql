-- Messages that were acknowledged and are not processed, sealed; and by which id each came, to know it if it comes again.
CREATE TABLE subscriptions (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    next INTEGER NOT NULL CHECK (next >= 0)
);
CREATE TABLE payloads (
    subscription INTEGER NOT NULL REFERENCES subscriptions,
    sequence INTEGER NOT NULL,
    period TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (subscription, sequence)
) WITHOUT ROWID;
CREATE TABLE taken (
    subscription INTEGER NOT NULL REFERENCES subscriptions,
    message TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (subscription, message)
) WITHOUT ROWID;
CREATE INDEX taken_in_order ON taken (subscription, sequence);
