-- How often something was removed, and up to which of these times the file was rebuilt without what that left of it.
CREATE TABLE leftovers (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    removals INTEGER NOT NULL,
    rebuilt INTEGER NOT NULL
);
INSERT INTO leftovers SELECT 1, EXISTS (SELECT 1 FROM subject_keys), 0;
