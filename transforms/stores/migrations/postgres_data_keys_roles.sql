REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC, {writer}, {reader}, {eraser}, {auditor};
GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}, {eraser};
GRANT SELECT ON store TO {writer}, {reader}, {eraser};
GRANT SELECT ON subject_keys TO {reader};
-- A run makes keys, and destroys those of days that are over; the keys of subjects it cannot touch.
GRANT SELECT, INSERT ON subject_keys TO {writer};
GRANT SELECT, INSERT, UPDATE, DELETE ON day_keys TO {writer};
-- Who erases destroys keys, keeps a row also for subjects who never had one, and wraps keys anew; it makes none for a
-- subject, but one for what a legal obligation holds back.
GRANT SELECT, INSERT (subject), UPDATE (wrapped) ON subject_keys TO {eraser};
GRANT SELECT, INSERT, UPDATE (expires_at, wrapped), DELETE ON day_keys TO {eraser};
GRANT EXECUTE ON FUNCTION check_fresh_snapshots() TO {writer}, {eraser};
GRANT EXECUTE ON FUNCTION forget_days() TO {writer}, {eraser};
GRANT EXECUTE ON FUNCTION forget_destroyed(regclass) TO {eraser};
