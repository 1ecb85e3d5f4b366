REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}, {eraser}, {auditor};
GRANT SELECT ON store TO {writer}, {reader}, {eraser}, {auditor};
-- A run exports checkpoints that are due, of this log as well: of entries, it needs place and link.
GRANT SELECT (position, chain) ON entries TO {writer};
-- The desk adds to the log and cannot read what others asked: of the last entry, it needs place and link.
GRANT INSERT ON entries TO {reader};
GRANT SELECT (position, chain) ON entries TO {reader};
-- An export tells a subject who asked for their values, and is itself an access.
GRANT INSERT ON entries TO {eraser};
GRANT SELECT ON entries TO {eraser}, {auditor};
