-- Outputs that a project knows of, until they are forgotten: by the run that makes them, and what their tokens need.
CREATE TABLE outputs (
    place TEXT NOT NULL,
    run TEXT NOT NULL,
    dataset TEXT NOT NULL,
    published INTEGER NOT NULL CHECK (published IN (0, 1)),
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (place, run)
) WITHOUT ROWID;
CREATE TABLE versions (
    place TEXT NOT NULL,
    run TEXT NOT NULL,
    domain TEXT NOT NULL,
    key_version INTEGER NOT NULL,
    PRIMARY KEY (place, run, domain, key_version),
    FOREIGN KEY (place, run) REFERENCES outputs ON DELETE CASCADE
) WITHOUT ROWID;
