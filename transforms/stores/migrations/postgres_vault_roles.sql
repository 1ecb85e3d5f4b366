-- Everybody who works with the vault has it follow the ledger first, and so removes what is permitted no more.
REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}, {eraser};
GRANT SELECT ON store TO {writer}, {reader}, {eraser};
GRANT SELECT ON applied TO {writer}, {reader}, {eraser};
GRANT EXECUTE ON FUNCTION note_applied(bigint, bytea, bigint, text, bigint) TO {writer}, {reader}, {eraser};
-- Who runs has its outputs known; who destroys keys, or erases, asks for them.
GRANT SELECT, INSERT, DELETE ON outputs TO {writer};
GRANT SELECT ON outputs TO {eraser};
GRANT SELECT ON outputs_listed TO {writer}, {eraser};
GRANT SELECT, DELETE ON entries TO {writer}, {reader}, {eraser};
GRANT INSERT, UPDATE (event_time) ON entries TO {writer};
