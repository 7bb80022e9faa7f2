CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE applied (
	"key" TEXT NOT NULL,
	at_ns BIGINT NOT NULL,
	CONSTRAINT pk_applied PRIMARY KEY ("key")
);
CREATE TABLE audit (
	id INTEGER NOT NULL,
	at_ns BIGINT NOT NULL,
	person TEXT NOT NULL,
	uid BIGINT NOT NULL,
	host TEXT NOT NULL,
	pid BIGINT NOT NULL,
	program TEXT NOT NULL,
	label TEXT NOT NULL,
	what TEXT NOT NULL,
	members TEXT NOT NULL,
	comment TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason TEXT NOT NULL,
	command_id TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE claim (
	farm TEXT NOT NULL,
	incarnation BIGINT NOT NULL,
	holder TEXT NOT NULL,
	host TEXT NOT NULL,
	boot_id TEXT NOT NULL,
	pid BIGINT NOT NULL,
	taken_at_ns BIGINT NOT NULL,
	refreshed_at_ns BIGINT NOT NULL,
	released BOOLEAN NOT NULL,
	CONSTRAINT pk_claim PRIMARY KEY (farm)
);
CREATE TABLE command (
	id TEXT NOT NULL,
	digest TEXT NOT NULL,
	person TEXT NOT NULL,
	what TEXT NOT NULL,
	path TEXT NOT NULL,
	accepted_at_ns BIGINT NOT NULL,
	outcome TEXT,
	reason TEXT NOT NULL,
	ended_at_ns BIGINT,
	CONSTRAINT pk_command PRIMARY KEY (id)
);
CREATE TABLE goal (
	farm TEXT NOT NULL,
	content TEXT NOT NULL,
	at_ns BIGINT NOT NULL,
	CONSTRAINT pk_goal PRIMARY KEY (farm)
);
CREATE TABLE lease (
	farm TEXT NOT NULL,
	holder TEXT NOT NULL,
	at_ns BIGINT NOT NULL, until_ns BIGINT DEFAULT '0' NOT NULL, comment TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_lease PRIMARY KEY (farm)
);
CREATE TABLE membership (
	path TEXT NOT NULL,
	membership TEXT NOT NULL,
	reason TEXT NOT NULL,
	person TEXT NOT NULL,
	at_ns BIGINT NOT NULL,
	CONSTRAINT pk_membership PRIMARY KEY (path)
);
CREATE TABLE message (
	id TEXT NOT NULL,
	severity TEXT NOT NULL,
	audience TEXT NOT NULL,
	who TEXT NOT NULL,
	host TEXT NOT NULL,
	run BIGINT,
	code TEXT NOT NULL,
	text TEXT NOT NULL,
	what_to_do TEXT NOT NULL,
	first_at_ns BIGINT NOT NULL,
	last_at_ns BIGINT NOT NULL,
	repeats BIGINT NOT NULL,
	CONSTRAINT pk_message PRIMARY KEY (id)
);
CREATE TABLE object (
	hash TEXT NOT NULL,
	kind TEXT NOT NULL,
	content TEXT NOT NULL,
	CONSTRAINT pk_object PRIMARY KEY (hash)
);
CREATE TABLE revision (
	hash TEXT NOT NULL,
	root TEXT NOT NULL,
	parent TEXT,
	author TEXT NOT NULL,
	created_at_ns BIGINT NOT NULL,
	message TEXT NOT NULL, absent_parent TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_revision PRIMARY KEY (hash),
	CONSTRAINT fk_revision_parent_revision FOREIGN KEY(parent) REFERENCES revision (hash),
	CONSTRAINT fk_revision_root_object FOREIGN KEY(root) REFERENCES object (hash)
);
CREATE TABLE run (
	number BIGINT NOT NULL,
	command_id TEXT NOT NULL,
	type TEXT NOT NULL,
	mode TEXT NOT NULL,
	revision TEXT NOT NULL,
	person TEXT NOT NULL,
	comment TEXT NOT NULL,
	start_asked_at_ns BIGINT NOT NULL,
	running_at_ns BIGINT,
	stop_asked_at_ns BIGINT,
	stopped_at_ns BIGINT,
	end_reason TEXT NOT NULL,
	degraded BOOLEAN NOT NULL,
	degraded_reason TEXT NOT NULL,
	undrained BOOLEAN NOT NULL, ends_after_events BIGINT DEFAULT '0' NOT NULL, ends_after_ns BIGINT DEFAULT '0' NOT NULL, changes_left_out BIGINT DEFAULT '0' NOT NULL, last_seen_at_ns BIGINT,
	CONSTRAINT pk_run PRIMARY KEY (number),
	CONSTRAINT fk_run_revision_revision FOREIGN KEY(revision) REFERENCES revision (hash),
	CONSTRAINT uq_run_command_id UNIQUE (command_id)
);
CREATE TABLE run_counter (
	run BIGINT NOT NULL,
	sub_farm TEXT NOT NULL,
	role TEXT NOT NULL,
	counter TEXT NOT NULL,
	value BIGINT NOT NULL,
	CONSTRAINT pk_run_counter PRIMARY KEY (run, sub_farm, role, counter),
	CONSTRAINT fk_run_counter_run_run FOREIGN KEY(run) REFERENCES run (number)
);
CREATE TABLE run_file (
	run BIGINT NOT NULL,
	sub_farm TEXT NOT NULL,
	path TEXT NOT NULL,
	size_bytes BIGINT NOT NULL,
	checksum TEXT NOT NULL, member TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_run_file PRIMARY KEY (run, sub_farm, path),
	CONSTRAINT fk_run_file_run_run FOREIGN KEY(run) REFERENCES run (number)
);
CREATE TABLE run_member (
	id INTEGER NOT NULL,
	run BIGINT NOT NULL,
	path TEXT NOT NULL,
	membership TEXT NOT NULL,
	reason TEXT NOT NULL,
	at_ns BIGINT NOT NULL,
	CONSTRAINT pk_run_member PRIMARY KEY (id),
	CONSTRAINT fk_run_member_run_run FOREIGN KEY(run) REFERENCES run (number)
);
CREATE TABLE sequence (
	name TEXT NOT NULL,
	value BIGINT NOT NULL,
	CONSTRAINT pk_sequence PRIMARY KEY (name)
);
CREATE TABLE tag (
	name TEXT NOT NULL,
	revision TEXT NOT NULL,
	CONSTRAINT pk_tag PRIMARY KEY (name),
	CONSTRAINT fk_tag_revision_revision FOREIGN KEY(revision) REFERENCES revision (hash)
);
CREATE TABLE tag_history (
	id INTEGER NOT NULL,
	name TEXT NOT NULL,
	revision TEXT NOT NULL,
	person TEXT NOT NULL,
	at_ns BIGINT NOT NULL,
	CONSTRAINT pk_tag_history PRIMARY KEY (id),
	CONSTRAINT fk_tag_history_revision_revision FOREIGN KEY(revision) REFERENCES revision (hash)
);
CREATE INDEX ix_applied_at_ns ON applied (at_ns);
CREATE INDEX ix_audit_at_ns ON audit (at_ns);
CREATE INDEX ix_audit_command_id ON audit (command_id);
CREATE INDEX ix_command_accepted_at_ns ON command (accepted_at_ns);
CREATE INDEX ix_message_last_at_ns ON message (last_at_ns);
CREATE INDEX ix_revision_created_at_ns ON revision (created_at_ns);
CREATE INDEX ix_run_member_run ON run_member (run);
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END;
INSERT INTO alembic_version (version_num) VALUES ('0005');
