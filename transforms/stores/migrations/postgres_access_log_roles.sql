REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
GRANT USAGE ON SCHEMA {schema} TO {reader}, {eraser}, {auditor};
GRANT SELECT ON store TO {reader}, {eraser}, {auditor};
-- The desk adds to the log and cannot read what others asked: of the last entry, it needs place and link.
GRANT INSERT ON entries TO {reader};
GRANT SELECT (position, chain) ON entries TO {reader};
-- An export tells a subject who asked for their values.
GRANT SELECT ON entries TO {eraser}, {auditor};
