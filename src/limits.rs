//! Every bound of the process: its name with the unit, and its reason. The relations between bounds are
//! asserted at the end of the file.
//!
//! A queue, a wait or a loop whose bound is not here is a bug (the tidy test looks for it).

use std::ops::RangeInclusive;
use std::time::Duration;

// --- The wire ----------------------------------------------------------------------------------------------

/// A request head, request line and headers together, counted as bytes arrive. More gets 431.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields in one head. More gets 431.
pub const HEADERS_MAX: usize = 64;
/// The request target. More gets 414.
pub const TARGET_BYTES_MAX: usize = 4 * 1024;
/// A request body. More gets 413. The same bound as for a message, so that every body that was accepted fits
/// a child.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// The size line of a chunk with its extensions, and all trailers together.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Unread bytes that are read and thrown away before a close, so that the answer is not lost to a reset.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// The extensions of all chunks of one body together. No real client sends any.
pub const CHUNK_EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Blank lines before a request line that are forgiven (RFC 9112, section 2.2 asks for at least one).
pub const BLANK_LINES_MAX: usize = 4;
/// Memory reserved for a body when its first bytes arrive. It grows with what arrives, not with what was
/// announced.
pub const BODY_ROOM_BYTES: usize = 64 * 1024;
/// A reply body up to this is copied behind its head; a larger one goes out beside it (`writev`).
pub const COPIED_BODY_BYTES_MAX: usize = 16 * 1024;
/// Pieces of one message (its bytes, and ids put into them) that one system call writes; more take a second
/// one.
pub const GATHERED_SLICES_MAX: usize = 8;
/// Edits of one message that are kept beside its bytes. With more of them it is copied once.
pub const EDITS_GATHERED_MAX: usize = 3;
/// So many edits and the bytes between them, a head before or a line feed after, go out in one system call.
const _: () = assert!(2 * EDITS_GATHERED_MAX + 2 <= GATHERED_SLICES_MAX);
/// Within each `WRITE_DEADLINE` a reader must take this much, or all there is.
pub const WRITE_STEP_BYTES: usize = 256 * 1024;
/// Room for a reply head; most are smaller.
pub const REPLY_HEAD_ROOM_BYTES: usize = 512;
/// Room made at first for an event beside its data: its id, its field names and the lines of its chunk.
pub const EVENT_ROOM_BYTES: usize = 96;
/// Bytes of later requests that are read while one is served (pipelining).
pub const READ_AHEAD_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Read buffers kept per thread for the next connection that has something to say.
pub const POOLED_BUFFERS_MAX: usize = 64;

/// Sockets open at once. At the cap the listener stops accepting; nobody is answered 503 (invariant 7).
pub const CONNECTIONS_MAX: usize = 20_000;
/// Descriptors kept free for children, files and the registry when the descriptor limit decides the cap.
pub const DESCRIPTORS_SPARE: usize = 256;
/// Sockets of one address at once; not for loopback and trusted proxies.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// Sockets of the admin listener at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;
/// Wait after `accept` failed for want of descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// From the first byte of a head to its last.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// From the end of the head to the end of the body, and again for a body that keeps `BODY_BYTES_PER_SEC_MIN`.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// A body that brings less than this, on average over each `BODY_DEADLINE`, is ended with 408.
pub const BODY_BYTES_PER_SEC_MIN: usize = 16 * 1024;
/// A reader that takes less than `WRITE_STEP_BYTES` (or all there is) within this time loses its connection.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Between two requests on a connection. Longer than Traefik and the clients keep an idle connection in their
/// pools, so that they close it and none of their requests meets a closing socket.
pub const IDLE_CONNECTION_DEADLINE: Duration = Duration::from_secs(90);
/// After our half of the socket is shut: time for the other end to read the answer and close.
pub const LINGER_DEADLINE: Duration = Duration::from_secs(2);
/// The step of the deadline sweep: every deadline may be late by this much, and never early.
pub const SWEEP_STEP: Duration = Duration::from_millis(250);

// --- Server-sent events ------------------------------------------------------------------------------------

/// A call that is silent this long is answered as an event stream, so that no idle timer cuts it.
pub const REPLY_PATIENCE: Duration = Duration::from_secs(1);
/// Default of `--keep-alive-comment`. Some clients and proxies cut a stream that is silent for 300 s or less.
pub const KEEP_ALIVE_COMMENT: Duration = Duration::from_secs(15);
/// Events queued for one reader; more of them wait in the stream's log. The reader loses its connection only
/// when the log drops one that it was not given.
pub const READER_EVENTS_MAX: usize = 16;
/// Readers of one stream at once: the newest is given the messages, the others wait for their turn. One more
/// ends the one that has waited longest.
pub const STREAM_READERS_MAX: usize = 4;
/// What a reader that is ended for one more is told to wait before it reconnects, in milliseconds: long, for
/// each of those that come back ends another.
pub const CROWDED_RETRY_MS: u32 = 30_000;
/// A larger event is given to a reader only when it has nothing else to write.
pub const LARGE_EVENT_BYTES: usize = 64 * 1024;
/// How long a session reads nothing from its backend because a client reads too slowly.
pub const BEHIND_PATIENCE: Duration = Duration::from_secs(1);
/// Events kept in a stream's log for resumption.
pub const REPLAY_EVENTS_MAX: usize = 256;
/// Bytes kept in a stream's log for resumption; a final response is kept even when it is larger.
pub const REPLAY_BYTES_MAX: usize = 1024 * 1024;
/// Requests of the server in one log that are kept until they are answered; beyond this the oldest is kept
/// like any notification.
pub const REPLAY_ASKS_MAX: usize = REPLAY_EVENTS_MAX / 2;
/// Bytes of these requests: two of the largest.
pub const REPLAY_ASKS_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Events that a log keeps when the process holds too much (`HELD_BYTES_PRESSURE`).
pub const REPLAY_EVENTS_UNDER_PRESSURE: usize = 8;
/// Bytes that a log keeps then.
pub const REPLAY_BYTES_UNDER_PRESSURE: usize = 64 * 1024;
/// Finished POST streams whose logs a session keeps, for a client that lost its connection before the
/// response.
pub const FINISHED_STREAMS_MAX: usize = 16;
/// Bytes of such logs in one session; the oldest goes first.
pub const FINISHED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long such a log is kept.
pub const FINISHED_STREAM_AGE: Duration = Duration::from_secs(300);
/// What we tell a reader to wait before it reconnects, in milliseconds.
pub const RETRY_MS: u32 = 1000;

// --- Messages ----------------------------------------------------------------------------------------------

/// A JSON-RPC message, in both directions.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages in a batch (2025-03-26 only).
pub const BATCH_MESSAGES_MAX: usize = 64;
/// A JSON-RPC id or progress token that is a string.
pub const ID_BYTES_MAX: usize = 256;
/// Ids that are read in one object of a broken line: an answer has one, and its result may have a few.
pub const GLANCE_IDS_MAX: usize = 64;
/// Where the id of a broken line is looked for when its envelope is too broken to be walked over. A good one has it
/// behind `{"jsonrpc":"2.0",`.
pub const GLANCE_HEAD_BYTES: usize = 48;
/// Bytes of one message that a server wrote over several lines, held until its last line.
pub const FRAGMENT_BYTES_MAX: usize = 64 * 1024;
/// Lines of one such message.
pub const FRAGMENT_LINES_MAX: usize = 2048;
/// Lines that are told whole behind a line that begins and ends like an object: it may have been cut behind a brace.
pub const FRAGMENT_LINES_AFTER_BRACE: usize = 4;
/// How often such a message is parsed when it is broken.
pub const FRAGMENT_LOOKS_MAX: usize = 8;
/// A method name.
pub const METHOD_BYTES_MAX: usize = 256;
/// Bytes of messages held by the whole process: bodies, inboxes, replay logs, waiting responses.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Above this share of `HELD_BYTES_MAX` the logs shed notifications.
pub const HELD_BYTES_PRESSURE: usize = HELD_BYTES_MAX / 4 * 3;

/// Above this share new calls are refused with a JSON-RPC error. The rest is left for bodies and answers.
pub const HELD_BYTES_CALLS_MAX: usize = HELD_BYTES_MAX / 8 * 7;

/// What all unfinished bodies together may hold beyond the first `BODY_BYTES_SMALL` bytes of each. So stalled
/// uploads cannot use up what the calls of others need.
pub const UNFINISHED_BYTES_MAX: usize = HELD_BYTES_MAX / 4;
/// A body up to this size counts as an everyday message.
pub const BODY_BYTES_SMALL: usize = 16 * 1024;

// --- Sessions ----------------------------------------------------------------------------------------------

/// Inputs that wait for a session's worker. A request that finds no room waits for it, `INBOX_WAIT` at most.
pub const INBOX_MAX: usize = 64;
/// Inputs that a worker takes while its backend is not ready yet.
pub const EARLY_INPUTS_MAX: usize = 48;
/// Requests in flight in one session, each way.
pub const CALLS_MAX: usize = 256;
/// Cancelled calls whose late answers a session drops without a word, newest first.
pub const CANCELLED_REMEMBERED_MAX: usize = CALLS_MAX;
/// Calls that went on as tasks whose progress tokens a session remembers, newest first.
pub const TASK_TOKENS_MAX: usize = CALLS_MAX;
/// Of a response, where it is looked for whether its call goes on as a task.
pub const TASK_RESULT_BYTES_LOOKED_AT: usize = 1024;
/// Members of a backend's batch that are taken before other sessions have their turn.
pub const MEMBERS_PER_TURN: usize = 256;
/// Between two lines of one kind in the log of one session.
pub const LOG_STEP: Duration = Duration::from_secs(1);
/// How long a server's request waits for its client's answer.
pub const ASK_AGE: Duration = Duration::from_secs(3600);
/// Children of ended sessions that are still stopping, beyond the cap of sessions, before new ones have to
/// wait.
pub const ENDING_CHILDREN_MAX: usize = 32;
/// How long a message waits for room in a full inbox before it is refused (a request) or dropped, and logged.
pub const INBOX_WAIT: Duration = Duration::from_secs(5);
/// Shards of the session table.
pub const TABLE_SHARDS: usize = 32;
/// Default of `--idle-timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The same for a session that never opened a stream. Its client is most likely gone: many end without a
/// DELETE.
pub const IDLE_TIMEOUT_NO_STREAM: Duration = Duration::from_secs(5 * 60);
/// A session with calls in flight that nobody reads may idle this many times longer.
pub const IDLE_WITH_CALLS_FACTOR: u32 = 4;
/// The memory that a session or a connection frees at its end, roughly.
pub const ENDED_BYTES: usize = 16 * 1024;
/// Bytes that have to be set free before free memory is given back to the system.
pub const FREED_BYTES_PER_GIVING_BACK: usize = 16 * 1024 * 1024;
/// Between two looks while much is being freed. It is given back after at most two of them without much more.
pub const FREEING_STEP: Duration = Duration::from_secs(1);
/// Bytes freed between two looks that are still nearly nothing: some connections and sessions end at any
/// time.
pub const FREED_BYTES_WHEN_QUIET_MAX: usize = 1024 * 1024;
/// Looks after which memory is given back although more is being freed.
pub const FREEING_LOOKS_MAX: u32 = 10;
/// The longest pause between two looks for idle sessions; shorter when the idle timeout is short.
pub const REAP_STEP_MAX: Duration = Duration::from_secs(10);
/// A session untouched this long, without stream and call, may be evicted at the cap.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// `Retry-After` at the cap, in seconds.
pub const RETRY_AFTER_SECS: u32 = 10;
/// Ids of closed sessions remembered, so that a late request hears `closed` and not `unknown`.
pub const CLOSED_REMEMBERED_MAX: usize = 4096;
/// Memory reckoned for one child process when `--max-sessions` is derived.
pub const CHILD_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// The derived cap stays within these.
pub const SESSIONS_DERIVED_MIN: usize = 16;
/// See `SESSIONS_DERIVED_MIN`.
pub const SESSIONS_DERIVED_MAX: usize = 4096;
/// The length of a session id's random part: 128 bits in Crockford's base32.
pub const SESSION_ID_RANDOM_CHARS: usize = 26;
/// A node's name.
pub const NODE_NAME_BYTES_MAX: usize = 16;
/// A server's name: it is a part of the path, of log lines and of a client's config.
pub const SERVER_NAME_BYTES_MAX: usize = 64;
/// A principal's name.
pub const PRINCIPAL_NAME_BYTES_MAX: usize = 64;
/// The random part of a token: 256 bits, so that its plain SHA-256 can be kept.
pub const TOKEN_RANDOM_BYTES: usize = 32;

// --- What may be configured --------------------------------------------------------------------------------

/// `--max-sessions` at most: more processes than any one machine runs.
pub const SESSIONS_MAX: usize = 100_000;
/// Any configured wait at most (720 h): longer is a slip of units.
pub const CONFIGURED_WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// `--keep-alive-comment` at least: comments must not become the load.
pub const KEEP_ALIVE_COMMENT_MIN: Duration = Duration::from_millis(100);
/// `--keep-alive-comment` at most: some clients give up a stream that is silent for 300 s.
pub const KEEP_ALIVE_COMMENT_MAX: Duration = Duration::from_secs(240);
/// `stopTimeout` at most. When burdock itself stops, `STOP_DEADLINE` comes first.
pub const CHILD_TERM_GRACE_MAX: Duration = Duration::from_secs(60);

// --- Children ----------------------------------------------------------------------------------------------

/// Messages that wait for a child to read its stdin.
pub const STDIN_QUEUE_MAX: usize = 64;
/// Of these, new requests may take this many: the rest is kept for answers and `cancelled`.
pub const STDIN_QUEUE_REQUESTS_MAX: usize = 48;
/// Messages that wait for the worker; a child that writes faster waits in its own `write`.
pub const STDOUT_QUEUE_MAX: usize = 16;
/// From spawn to the answer of `initialize`. `npx` may have to download first.
pub const CHILD_START_DEADLINE: Duration = Duration::from_secs(120);
/// Spawns at once.
pub const SPAWNS_MAX: usize = 4;
/// Bytes of an over-long line that are thrown away before the child counts as broken.
pub const LINE_DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Ends of a JSON text that are looked for in a line that ends with something else (terminal colours).
pub const NOISE_ENDS_MAX: usize = 8;
/// Times that one line is looked at as a whole because it may end with a lone CR.
pub const CR_LOOKS_MAX: u8 = 16;
/// What is kept of an over-long line's beginning: its id stands there or at the end, and says which call
/// fails.
pub const TOO_LONG_HEAD_BYTES: usize = 4096;
/// What is kept of an over-long line's end.
pub const TOO_LONG_TAIL_BYTES: usize = 1024;
/// From closing stdin to SIGTERM, and up to two `SWEEP_STEP` more.
pub const CHILD_EOF_GRACE: Duration = Duration::from_secs(2);
/// From SIGTERM to SIGKILL.
pub const CHILD_TERM_GRACE: Duration = Duration::from_secs(3);
/// Lines of a child's stderr in the log per second; the rest is counted.
pub const STDERR_LINES_PER_SEC_MAX: u32 = 50;
/// Bytes of one line of stderr that are looked at.
pub const STDERR_LINE_BYTES_MAX: usize = 4096;
/// Text from outside, in a log line or an error message.
pub const FOREIGN_TEXT_BYTES_MAX: usize = 200;
/// From SIGKILL to giving up on a process that the kernel holds (a dead network disk); it is reaped when it
/// goes.
pub const CHILD_KILL_GRACE: Duration = Duration::from_secs(2);
/// How long the output of a process that has exited is waited for: a grandchild may hold the pipe open for
/// ever.
pub const CHILD_REST_WAIT: Duration = Duration::from_millis(500);
/// What is still read after that exit: as much as a pipe can hold (`/proc/sys/fs/pipe-max-size`).
pub const CHILD_REST_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read from a child's pipe at once. The reader holds a buffer of this size only while the pipe has
/// data.
pub const PIPE_READ_BYTES: usize = 16 * 1024;
/// A line that grows waits this long for a share of `HELD_BYTES_MAX` before it is thrown away.
pub const LINE_BUDGET_WAIT: Duration = Duration::from_secs(10);
/// Lines that are not JSON told to the worker per second; the rest is only counted.
pub const GARBAGE_LINES_PER_SEC_MAX: u32 = 10;
/// How long the watchdog looks for marked processes after burdock has gone.
pub const WATCHDOG_SWEEP: Duration = Duration::from_millis(1500);
/// The same while it still finds some: a program may fork as fast as it is killed.
pub const WATCHDOG_SWEEP_MAX: Duration = Duration::from_secs(10);
/// Between two looks through `/proc` while children end: one look serves all that ended meanwhile.
pub const WATCHDOG_SCAN_STEP: Duration = Duration::from_millis(200);
/// Between two looks through `/proc` after burdock has gone.
pub const WATCHDOG_SWEEP_STEP: Duration = Duration::from_millis(20);
/// Looks in a row that find nothing before a child's number counts as gone: a fork can slip past one.
pub const WATCHDOG_CLEAN_SCANS: u32 = 2;
/// Looks for one child's processes before the watchdog gives up on what SIGKILL does not end.
pub const WATCHDOG_SCANS_MAX: u32 = 50;
/// Bytes of a process's environment that are searched for the mark: as much as Linux allows by default.
pub const ENVIRON_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Notes (child started, child ended) that wait for the watchdog.
pub const WATCHDOG_QUEUE_MAX: usize = 256;
/// One line between burdock and its watchdog.
pub const WATCHDOG_LINE_BYTES_MAX: usize = 128;
/// Notes of ended children wait so long for others that can go with them: each write wakes the watchdog.
pub const WATCHDOG_ENDED_WAIT: Duration = SWEEP_STEP;
/// Bytes of notes that do not wait for more, and what is read of them at once.
pub const WATCHDOG_BATCH_BYTES: usize = 4096;
/// From starting the watchdog to its `ready`, and for one write to it.
pub const WATCHDOG_DEADLINE: Duration = Duration::from_secs(5);
/// Between the starts of two watchdogs, at least: the second replaces the first, which died.
pub const WATCHDOG_RESTART_WAIT: Duration = Duration::from_millis(500);

// --- Handlers ----------------------------------------------------------------------------------------------

/// Messages of a session's handlers that wait for its worker. A handler that sends more waits.
pub const HANDLER_OUTPUTS_MAX: usize = 16;
/// `seconds` of the demo's tool `slow` at most.
pub const DEMO_SECONDS_MAX: f64 = 600.0;
/// Unanswered requests of one session's handlers to its client. Fewer than `CALLS_MAX`, so the worker refuses
/// none.
pub const ASKS_MAX: usize = 64;
/// Default of `Server::ask_deadline`: how long a client may take to answer a handler (L46: every request has
/// a timeout). Minutes, because a person may have to think.
pub const ASK_DEADLINE: Duration = Duration::from_secs(5 * 60);
/// Entries on one page of a list, when the server names no other number.
pub const PAGE_ENTRIES: usize = 250;
/// Subscriptions of one session to resources.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// What a client says of itself (name, version and capabilities), which a session of handlers keeps to its
/// end.
pub const CLIENT_BYTES_MAX: usize = 16 * 1024;
/// The URI of a resource in a request.
pub const URI_BYTES_MAX: usize = 4 * 1024;
/// Values in the answer to `completion/complete`: the protocol's own bound.
pub const COMPLETION_VALUES_MAX: usize = 100;
/// Memory reckoned for one in-process session when `--max-sessions` is derived.
pub const HANDLER_MEMORY_BYTES: u64 = 128 * 1024;
/// The cap derived for in-process sessions is at most this.
pub const HANDLER_SESSIONS_DERIVED_MAX: usize = 50_000;
/// On stdio, from the end of the input to the exit: for calls in flight to be answered.
pub const STDIO_END_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at the threads of the executor. A thread that is in the same poll of a handler at two
/// looks counts as blocked.
pub const WATCH_STEP: Duration = Duration::from_millis(50);
/// Threads of the executor started in place of blocked ones, at once.
pub const SPARE_THREADS_MAX: usize = 64;
/// For so many such looks a spare thread is kept after it was last needed.
pub const SPARE_LOOKS: u32 = 20;
/// How long a spare thread waits for events before it looks whether it is still needed.
pub const SPARE_PATIENCE_SECS: i64 = 1;
/// Tasks that a thread of the executor polls before it looks for events again: a crowd of tasks must not
/// delay them.
pub const TASKS_PER_LOOK: usize = 200;

// --- Registry ----------------------------------------------------------------------------------------------

/// How long a record lasts without its node: `EX` of `mcp:session:{id}`, 30 days.
pub const RECORD_SECS: u64 = 2_592_000;
/// Records of living sessions are written anew this often, long before they would expire.
pub const RECORD_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two heartbeats of a node, and so the longest that a session closed through another node lives on.
pub const HEARTBEAT_STEP: Duration = Duration::from_secs(10);
/// `EX` of a heartbeat: three are missed before a node counts as gone.
pub const HEARTBEAT_SECS: u64 = 30;
/// Ids taken from the inbox at once; when there are more, the next heartbeat comes at once.
pub const INBOX_TAKEN_MAX: usize = 512;
/// Notes (session begun, session ended) that wait for Redis. When there are more all records are written anew
/// later.
pub const NOTES_MAX: usize = 2048;
/// When so many notes wait, they are written at once.
pub const NOTES_CROWD: usize = NOTES_MAX / 2;
/// Notes in one pipeline: with the largest records 8 MiB.
pub const NOTES_BATCH_MAX: usize = 512;
/// How long a note waits for others, to go to Redis in one pipeline: each pipeline costs changes of thread.
/// Most short sessions end within this time and then cost one command instead of three. Other nodes hear of a
/// session this much later.
pub const NOTES_WAIT: Duration = Duration::from_millis(20);
/// For a connection to Redis, and for the answers to one pipeline.
pub const REDIS_DEADLINE: Duration = Duration::from_secs(2);
/// Before Redis is tried again after an error; doubled each time.
pub const REDIS_RETRY_MIN: Duration = Duration::from_millis(250);
/// The same at most. Shorter than a heartbeat: one heartbeat after Redis is back everything is written.
pub const REDIS_RETRY_MAX: Duration = Duration::from_secs(4);
/// Questions about ids that are not here that wait for Redis; more are answered with `registry-unreachable`.
pub const QUESTIONS_MAX: usize = 128;
/// How long a request waits for the answer.
pub const QUESTION_DEADLINE: Duration = Duration::from_millis(300);
/// After a failure no question is asked for so long, so that no request waits for a Redis that is down.
pub const QUESTION_PAUSE: Duration = Duration::from_secs(1);
/// For a DELETE of a session that is not here: a few round trips.
pub const FAR_CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// For writing the notes that still wait when the node stops.
pub const REGISTRY_FLUSH: Duration = Duration::from_secs(2);
/// Between two lines about misroutes in the log.
pub const MISROUTE_LOG_STEP: Duration = Duration::from_secs(1);
/// An `initialize` that is kept in the record, for servers whose sessions are restored.
pub const RESTORE_BYTES_MAX: usize = 16 * 1024;
/// A client's name in a record.
pub const CLIENT_NAME_BYTES_MAX: usize = 128;

// --- burdock check -----------------------------------------------------------------------------------------

/// For a connection, and for a whole answer.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(30);
/// For the first event of a GET stream; many have none.
pub const CHECK_STREAM_WAIT: Duration = Duration::from_secs(2);
/// The head of an answer.
pub const CHECK_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of an answer.
pub const CHECK_HEADERS_MAX: usize = 100;
/// The body of an answer.
pub const CHECK_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pages of one list.
pub const CHECK_PAGES_MAX: usize = 100;
/// Pings whose median is told.
pub const CHECK_PINGS: usize = 20;

// --- burdock sessions, and closing what lives elsewhere ----------------------------------------------------

/// `mcp:closed:{id}` and an inbox in Redis, in seconds: as long as a client may be expected to come back.
pub const CLOSED_SECS: u64 = 60 * 60;
/// `mcp:closed:{id}` of one node within `CLOSED_SECS`: 17 MB of Redis's memory, whatever clients do. For what
/// ends beyond that other nodes say `unknown` instead of `closed`.
pub const CLOSED_KEYS_MAX: usize = 100_000;
/// Ids in the inbox of a node. The node empties it with each heartbeat; more ids mean that it does so no
/// longer.
pub const INBOX_IDS_MAX: isize = 10_000;
/// Attempts of a transaction whose keys others change meanwhile.
pub const TRANSACTION_TRIES_MAX: u32 = 10;
/// For a connection of an operator's command to Redis, and its greeting.
pub const OPERATOR_CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// For each of Redis's answers to it.
pub const OPERATOR_ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Keys that Redis looks at per SCAN: about a millisecond of its time.
pub const SCAN_COUNT: usize = 1000;
/// Values asked for at once: a record with an `initialize` can be large.
pub const MGET_KEYS: usize = 100;
/// SCANs of one list: enough for 100 million keys, whoever wrote them.
pub const SCAN_ROUNDS_MAX: usize = 100_000;
/// Sessions of one list: some 100 MiB of memory with the table made of it.
pub const LISTED_SESSIONS_MAX: usize = 100_000;
/// Nodes of one list.
pub const LISTED_NODES_MAX: usize = 1000;

// --- The process -------------------------------------------------------------------------------------------

/// Default of `--drain-timeout`: calls in flight at SIGTERM get this long.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For this long after `/health/ready` says no, `initialize` still works. A load balancer asks each second
/// and waits one second for the answer, and what it sent before it knew is still on its way.
pub const DRAIN_GRACE: Duration = Duration::from_secs(4);
/// A node whose `/health/ready` was asked for within this time has a load balancer in front of it.
pub const READY_ASKED_AGE: Duration = Duration::from_secs(60);
/// Between two reports of a drain's progress, to the log and to the service manager.
pub const DRAIN_TELL_STEP: Duration = Duration::from_secs(5);
/// The time that a stopping node asks of the service manager with each such report: until the next one, and
/// for the end.
pub const DRAIN_EXTENSION: Duration = Duration::from_secs(30);
/// Default of `--retire-window`.
pub const RETIRE_WINDOW: Duration = Duration::from_secs(30);
/// Between two looks at the sessions in that window: which are due, and which that were busy have become
/// idle.
pub const RETIRE_STEP: Duration = Duration::from_millis(50);
/// After the window, for calls that are still in flight; then they are answered with an error.
pub const RETIRE_CALLS_MAX: Duration = Duration::from_secs(60);
/// The range of the random delay (`retry:`) after which the client of a retired session should come back.
pub const RETIRE_RETRY_MS: RangeInclusive<u32> = 500..=5_000;
/// For the service manager to take one message. It reads at once, or something is wrong with it.
pub const NOTIFY_DEADLINE: Duration = Duration::from_secs(1);
/// From the end of the drain to the exit, whatever happens.
pub const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// Between two looks whether a stopping node has calls or children left.
pub const DRAIN_POLL: Duration = Duration::from_millis(20);
/// For replies on their way and the ends of streams, after the sessions of a stopping node are closed.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// Connections that the system holds until they are accepted (it may have a lower bound of its own). Enough
/// for clients that all come back at once after a restart.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Events that one wait for descriptors takes; more come with the next.
pub const READY_EVENTS_MAX: usize = 256;
/// Threads of the executor at most.
pub const THREADS_MAX: usize = 64;
/// A config or token file.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A time as it is typed: more than anybody writes, less than a sum beyond what a `Duration` holds needs.
pub const DURATION_TEXT_BYTES_MAX: usize = 20;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(READ_AHEAD_BYTES_MAX >= HEAD_BYTES_MAX);
const _: () = assert!(DISCARD_BYTES_MAX >= READ_AHEAD_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX * 8 <= HELD_BYTES_MAX);
const _: () = assert!(UNFINISHED_BYTES_MAX >= BODY_BYTES_MAX && UNFINISHED_BYTES_MAX < HELD_BYTES_PRESSURE);
const _: () = assert!(HELD_BYTES_PRESSURE < HELD_BYTES_CALLS_MAX);
const _: () = assert!(HELD_BYTES_CALLS_MAX + MESSAGE_BYTES_MAX < HELD_BYTES_MAX);
const _: () = assert!(FINISHED_BYTES_MAX >= MESSAGE_BYTES_MAX);
const _: () = assert!(READER_EVENTS_MAX < REPLAY_EVENTS_MAX);
const _: () = assert!(STDIN_QUEUE_REQUESTS_MAX < STDIN_QUEUE_MAX);
const _: () = assert!(KEEP_ALIVE_COMMENT.as_secs() * 2 < IDLE_CONNECTION_DEADLINE.as_secs());
const _: () = assert!(IDLE_CONNECTION_DEADLINE.as_secs() >= 75);
const _: () = assert!(IDLE_TIMEOUT_NO_STREAM.as_secs() <= IDLE_TIMEOUT.as_secs());
const _: () = assert!(CHILD_EOF_GRACE.as_secs() + CHILD_TERM_GRACE.as_secs() < STOP_DEADLINE.as_secs());
const _: () = assert!(CHILD_REST_WAIT.as_millis() < CHILD_EOF_GRACE.as_millis());
const _: () = assert!(WATCHDOG_SWEEP.as_millis() < 2000);
const _: () = assert!(SESSIONS_DERIVED_MAX <= SESSIONS_MAX);
const _: () = assert!(IDLE_TIMEOUT.as_secs() <= CONFIGURED_WAIT_MAX.as_secs());
const _: () = assert!(KEEP_ALIVE_COMMENT.as_secs() <= KEEP_ALIVE_COMMENT_MAX.as_secs());
const _: () = assert!(CHILD_TERM_GRACE.as_secs() <= CHILD_TERM_GRACE_MAX.as_secs());
const _: () = assert!(1_000 % SWEEP_STEP.as_millis() == 0);
const _: () = assert!(SWEEP_STEP.as_millis() * 4 <= REPLY_PATIENCE.as_millis());
const _: () = assert!(HEARTBEAT_STEP.as_secs() * 3 <= HEARTBEAT_SECS);
const _: () = assert!(REDIS_RETRY_MAX.as_secs() + REDIS_DEADLINE.as_secs() * 2 < HEARTBEAT_STEP.as_secs());
const _: () = assert!(RECORD_REFRESH.as_secs() * 2 < RECORD_SECS);
const _: () = assert!(NOTES_BATCH_MAX <= NOTES_CROWD && NOTES_CROWD < NOTES_MAX);
const _: () = assert!(ASKS_MAX < CALLS_MAX);
const _: () = assert!(
    DRAIN_TELL_STEP.as_secs()
        + WATCHDOG_DEADLINE.as_secs()
        + FLUSH_DEADLINE.as_secs()
        + REGISTRY_FLUSH.as_secs()
        + STOP_DEADLINE.as_secs()
        < DRAIN_EXTENSION.as_secs()
);
const _: () = assert!(HANDLER_SESSIONS_DERIVED_MAX <= SESSIONS_MAX);
const _: () = assert!(URI_BYTES_MAX <= MESSAGE_BYTES_MAX);
