REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}, {eraser}, {auditor};
GRANT SELECT ON store, entries TO {writer}, {reader}, {eraser}, {auditor};
GRANT INSERT ON entries TO {writer}, {eraser};
