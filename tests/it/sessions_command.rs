//! `burdock sessions` with a real Redis and records written by hand, some of them hostile.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::redis_server::{RedisServer, free_port, redis_server};
use crate::support::{Burdock, SOON, Session, wait_for};

/// Ids of n1: one in a run that is there, one of the run before, one of those that can be begun again.
const LIVE: &str = "n1-00000000000000000000000001";
const LOST: &str = "n1-00000000000000000000000002";
const RESTORABLE: &str = "n1-00000000000000000000000003";
/// Of a node that drains, and of one without a heartbeat.
const DRAINING: &str = "n2-00000000000000000000000004";
const ORPHAN: &str = "n3-00000000000000000000000005";

/// What a terminal must not be told.
const HOSTILE: &str = "evil\u{1b}[2J\u{9b}31m\u{202e}\r\nfake row";

fn burdock(arguments: &[&str]) -> Output {
    burdock_with(arguments, &[])
}

fn burdock_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burdock"));
    command.arg("sessions").args(arguments).env_remove("BURDOCK_REDIS").env_remove("BURDOCK_REDIS_FILE");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Stderr of a command that had to fail with this status.
fn problem(output: &Output, status: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

fn set(server: &RedisServer, key: &str, value: &str) {
    redis::cmd("SET").arg(key).arg(value).exec(&mut server.connection()).unwrap();
}

fn record(epoch: &str, id: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"node": &id[..2], "epoch": epoch, "server": "git", "protocol": "2025-11-25", "client": "inspector",
        "principal": "ann", "created": now - 3900, "state": "live"})
}

fn write(server: &RedisServer, id: &str, record: &Value) {
    set(server, &format!("mcp:session:{id}"), &record.to_string());
}

fn beat(server: &RedisServer, node: &str, epoch: &str, draining: bool) {
    let heartbeat = json!({"epoch": epoch, "url": "http://10.0.0.1:8080", "sessions": 1, "draining": draining,
        "version": "0.1.0", "started": 1, "beat": 7});
    set(server, &format!("mcp:node:{node}"), &heartbeat.to_string());
}

/// Three nodes in three states, five sessions, and what does not belong there.
fn cluster(server: &RedisServer) {
    beat(server, "n1", "now", false);
    beat(server, "n2", "now", true);
    write(server, LIVE, &record("now", LIVE));
    write(server, LOST, &record("before", LOST));
    let mut restorable = record("before", RESTORABLE);
    restorable["initialize"] = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize"});
    write(server, RESTORABLE, &restorable);
    write(server, DRAINING, &record("now", DRAINING));
    let mut hostile = record("now", ORPHAN);
    (hostile["client"], hostile["server"]) = (json!(HOSTILE), json!("x".repeat(100_000)));
    hostile["principal"] = Value::Null;
    write(server, ORPHAN, &hostile);
}

/// Keys that burdock does not write, in the places where it looks: nine of them.
fn litter(server: &RedisServer) {
    let mut connection = server.connection();
    let id = |number: u32| format!("mcp:session:n1-0000000000000000000000009{number}");
    for (number, text) in [(0, "{"), (1, "[]"), (2, "\u{1b}[2J"), (3, r#"{"node": "n1"}"#)] {
        set(server, &id(number), text);
    }
    let mut elsewhere = record("now", LIVE);
    elsewhere["node"] = json!("n1:inbox");
    set(server, &id(4), &elsewhere.to_string());
    redis::cmd("RPUSH").arg(id(5)).arg("x").exec(&mut connection).unwrap();
    redis::cmd("SET").arg(b"mcp:session:\xff\x1b[2J").arg("x").exec(&mut connection).unwrap();
    set(server, "mcp:node:N*", "{}");
    redis::cmd("HSET").arg(&["mcp:node:n9", "a", "b"]).exec(&mut connection).unwrap();
    // These are in their places, and not counted.
    redis::cmd("RPUSH").arg("mcp:node:n1:inbox").arg(LIVE).exec(&mut connection).unwrap();
    set(server, &format!("mcp:closed:{LIVE}"), "");
    set(server, "others:key", "x");
}

fn row<'a>(table: &'a str, id: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(id));
    line.unwrap_or_else(|| panic!("no {id} in {table}")).split_whitespace().collect()
}

#[test]
fn the_table_has_all_sessions_and_nodes_whatever_else_is_there() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    litter(&server);
    let output = burdock(&["--redis", &server.url()]);
    let table = stdout(&output);
    let short = |id: &str| format!("{}…", &id[..9]);
    let states: Vec<&str> =
        table.lines().filter(|line| line.contains('…')).filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(states, ["live", "lost", "restorable", "draining", "lost"], "{table}");
    assert_eq!(row(&table, &short(DRAINING))[1..], ["n2", "git", "inspector", "ann", "1h05m", "draining"]);
    assert_eq!(row(&table, "n1 "), ["n1", "1", "2", "yes", "0.1.0", "http://10.0.0.1:8080"]);
    assert_eq!(row(&table, "n2 "), ["n2", "1", "0", "draining", "0.1.0", "http://10.0.0.1:8080"]);
    assert_eq!(row(&table, "n3 "), ["n3", "0", "1", "none", "-", "-"]);
    assert!(!table.contains(&LIVE[9..]), "a whole id without --full: {table}");
    assert!(!table.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{table:?}");
    assert!(table.lines().all(|line| line.chars().count() < 150), "{table}");
    let remark = String::from_utf8(output.stderr).unwrap();
    assert!(remark.starts_with("burdock: 9 keys are under mcp:session:*"), "{remark}");
    assert_eq!((server.calls("keys"), server.calls("scan") > 0), (0, true));
}

#[test]
fn json_is_one_object_in_ascii() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let text = stdout(&burdock_with(&["--json", "--full"], &[("BURDOCK_REDIS", &server.url())]));
    assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let find = |id: &str| report["sessions"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    assert_eq!((&find(LIVE)["state"], &find(LIVE)["principal"]), (&json!("live"), &json!("ann")));
    assert_eq!((&find(RESTORABLE)["state"], &find(RESTORABLE)["restorable"]), (&json!("lost"), &json!(true)));
    assert_eq!((&find(ORPHAN)["client"], &find(ORPHAN)["principal"]), (&json!(HOSTILE), &Value::Null));
    assert!((3900..4000).contains(&find(LIVE)["age_seconds"].as_u64().unwrap()));
    assert_eq!((&report["complete"], &report["unreadable"]), (&json!(true), &json!(0)));
    let n1 = &report["nodes"][0];
    assert_eq!((&n1["name"], &n1["live"], &n1["lost"]), (&json!("n1"), &json!(1), &json!(2)));
    assert_eq!(n1["heartbeat"]["epoch"], "now");
    assert_eq!(report["nodes"][2]["heartbeat"], Value::Null);
    let short = stdout(&burdock(&["--json", "--redis", &server.url()]));
    assert!(!short.contains(LIVE) && short.contains("n1-000000"), "{short}");
}

#[test]
fn one_node_or_none() {
    let Some(server) = redis_server("sessions_command") else { return };
    let empty = stdout(&burdock(&["--redis", &server.url()]));
    assert!(empty.contains("there are no sessions") && empty.contains("no node has a heartbeat"), "{empty}");
    cluster(&server);
    let file = server.folder.join("url");
    std::fs::write(&file, format!("unix://{}/redis.sock\n", server.folder.display())).unwrap();
    let output = burdock(&["--node", "n2", "--redis-file", file.to_str().unwrap()]);
    std::fs::write(&file, "# the cluster's\nredis://h/\n").unwrap();
    let two = problem(&burdock(&["--redis-file", file.to_str().unwrap()]), 2);
    assert!(two.contains("must have one line, the URL only"), "{two}");
    let table = stdout(&output);
    assert!(table.contains("n2-000000") && !table.contains("n1-000000"), "{table}");
    let nodes: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("NODE ")).skip(1).collect();
    assert!(
        matches!(&nodes[..], [only] if only.starts_with("n2 ")),
        "counts of nodes that were not asked for: {table}"
    );
}

/// More keys than one SCAN looks at, and more than one MGET takes.
#[test]
fn a_long_list_is_whole() {
    let Some(server) = redis_server("sessions_command") else { return };
    let mut pipe = redis::pipe();
    for number in 0..2500 {
        let id = format!("n1-0000000000000000000000{number:04}");
        pipe.set(format!("mcp:session:{id}"), record("now", &id).to_string()).ignore();
        pipe.set(format!("others:{number}"), "x").ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    let text = stdout(&burdock(&["--json", "--full", "--redis", &server.url()]));
    let report: Value = serde_json::from_str(&text).unwrap();
    let ids = report["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 2500);
    assert_eq!(report["sessions"].as_array().unwrap().len(), 2500);
    assert_eq!(server.calls("keys"), 0);
}

#[test]
fn close_does_what_a_delete_from_elsewhere_does() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let url = server.url();
    let before = server.keys("*");
    let dry = stdout(&burdock(&["close", LIVE, "--dry-run", "--redis", &url]));
    assert!(dry.starts_with("would close n1-000000… of inspector at git: node n1"), "{dry}");
    assert_eq!(server.keys("*"), before);

    let done = stdout(&burdock(&["close", LIVE, "--redis", &url]));
    assert!(done.starts_with("closed n1-000000…") && !done.contains(LIVE), "{done}");
    let mut connection = server.connection();
    let mut ask =
        |command: &str, key: &str| redis::cmd(command).arg(key).query::<redis::Value>(&mut connection);
    let (closed, inbox) = (format!("mcp:closed:{LIVE}"), "mcp:node:n1:inbox");
    assert_eq!(ask("EXISTS", &format!("mcp:session:{LIVE}")).unwrap(), redis::Value::Int(0));
    assert_eq!(ask("GET", &closed).unwrap(), redis::Value::BulkString(b"ann".to_vec()));
    assert_eq!(ask("LPOP", inbox).unwrap(), redis::Value::BulkString(LIVE.into()));
    stdout(&burdock(&["close", ORPHAN, "--redis", &url]));
    assert_eq!(ask("GET", &format!("mcp:closed:{ORPHAN}")).unwrap(), redis::Value::BulkString(Vec::new()));
    for key in [&closed, "mcp:node:n3:inbox"] {
        let redis::Value::Int(seconds) = ask("TTL", key).unwrap() else { panic!("{key}") };
        assert!((3590..=3600).contains(&seconds), "{key}: {seconds}");
    }

    let again = problem(&burdock(&["close", LIVE, "--redis", &url]), 1);
    assert!(again.contains("no session n1-000000… is recorded"), "{again}");
}

#[test]
fn the_inbox_of_a_node_that_never_looks_is_bounded() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let mut connection = server.connection();
    let filling = "for i = 1, 20000 do redis.call('RPUSH', 'mcp:node:n1:inbox', i) end";
    redis::cmd("EVAL").arg(filling).arg(0).exec(&mut connection).unwrap();
    stdout(&burdock(&["close", LIVE, "--redis", &server.url()]));
    let length: usize = redis::cmd("LLEN").arg("mcp:node:n1:inbox").query(&mut connection).unwrap();
    let last: String = redis::cmd("LINDEX").arg("mcp:node:n1:inbox").arg(-1).query(&mut connection).unwrap();
    assert_eq!((length, last.as_str()), (10_000, LIVE));
}

#[test]
fn what_cannot_be_read_is_not_closed() {
    let Some(server) = redis_server("sessions_command") else { return };
    litter(&server);
    let before = server_keys(&server);
    for last in 0..6 {
        let id = format!("n1-0000000000000000000000009{last}");
        assert!(problem(&burdock(&["close", &id, "--redis", &server.url()]), 1).contains("is recorded"));
    }
    assert_eq!(server_keys(&server), before);
}

#[test]
fn prune_deletes_lost_records_and_nothing_else() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    litter(&server);
    let url = server.url();
    let before = server_keys(&server);
    let dry = stdout(&burdock(&["prune", "--redis", &url]));
    assert!(dry.contains("would delete 2 records of lost sessions (n1: 1, n3: 1)"), "{dry}");
    assert!(
        dry.contains("--restorable") && dry.contains("burdock sessions prune --yes --redis redis://"),
        "{dry}"
    );
    let all = stdout(&burdock(&["prune", "--restorable", "--redis", &url]));
    assert!(all.contains(&format!("burdock sessions prune --yes --restorable --redis {url}")), "{all}");
    assert_eq!(server_keys(&server), before);

    let done = stdout(&burdock(&["prune", "--yes", "--redis", &url]));
    assert!(done.contains("deleted 2 records of lost sessions (n1: 1, n3: 1)"), "{done}");
    let gone = |keys: &[String], ids: &[&str]| -> Vec<String> {
        let gone: Vec<String> = ids.iter().map(|id| format!("mcp:session:{id}")).collect();
        keys.iter().filter(|key| !gone.contains(key)).cloned().collect()
    };
    assert_eq!(server_keys(&server), gone(&before, &[LOST, ORPHAN]));

    let rest = stdout(&burdock(&["prune", "--yes", "--restorable", "--redis", &url]));
    assert!(rest.contains("deleted 1 record of a lost session (n1: 1)"), "{rest}");
    assert_eq!(server_keys(&server), gone(&before, &[LOST, ORPHAN, RESTORABLE]));
    let none = stdout(&burdock(&["prune", "--yes", "--redis", &url]));
    assert!(none.contains("there is no record of a lost session"), "{none}");
    assert_eq!(server.calls("keys"), 0, "burdock said KEYS");
}

/// The keys without KEYS, which the test counts.
fn server_keys(server: &RedisServer) -> Vec<String> {
    let mut connection = server.connection();
    let scan = redis::cmd("SCAN").arg(0).arg("COUNT").arg(10_000).query(&mut connection);
    let (_, keys): (u64, Vec<Vec<u8>>) = scan.unwrap();
    let mut keys: Vec<String> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    keys.sort();
    keys
}

/// A heartbeat of a real node lasts for 30 s: what is left of that is its age. One that two nodes write says so, and
/// their sessions are not pruned.
#[test]
fn the_age_of_a_heartbeat_and_a_name_that_two_nodes_have_are_shown() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    redis::cmd("EXPIRE").arg("mcp:node:n1").arg(18).exec(&mut server.connection()).unwrap();
    let table = stdout(&burdock(&["--redis", &server.url()]));
    assert_eq!(row(&table, "n1 ")[3..5], ["12s", "ago"], "{table}");
    let key = "mcp:node:n1";
    let text: String = redis::cmd("GET").arg(key).query(&mut server.connection()).unwrap();
    set(&server, key, &text.replace("\"draining\":false", "\"draining\":false,\"disputed\":true"));
    let output = burdock(&["--redis", &server.url()]);
    let table = stdout(&output);
    assert_eq!(row(&table, "n1 ")[1..4], ["3", "0", "disputed"], "{table}");
    let remark = String::from_utf8(output.stderr).unwrap();
    assert!(remark.contains("two running nodes are named n1: give each a --node of its own"), "{remark}");
    let pruned = stdout(&burdock(&["prune", "--restorable", "--yes", "--redis", &server.url()]));
    assert!(pruned.contains("deleted 1 record of a lost session (n3: 1)"), "{pruned}");
}

/// Between the list and the deletion the run of the record comes (back) to life.
#[test]
fn a_record_whose_node_lives_again_stays() {
    use burdock::registry::operator;
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let mut connection = server.connection();
    let listing = operator::list(&mut connection, None).unwrap();
    let of = |id: &str| listing.sessions.iter().find(|one| one.id.to_string() == id).unwrap();
    assert_eq!(of(LOST).standing, operator::Standing::Lost);
    beat(&server, "n1", "before", false);
    assert!(!operator::prune(&mut connection, of(LOST), true).unwrap());
    beat(&server, "n3", "now", false);
    assert!(!operator::prune(&mut connection, of(ORPHAN), true).unwrap());
    write(&server, LOST, &record("newer", LOST));
    beat(&server, "n1", "newer", false);
    assert!(!operator::prune(&mut connection, of(LOST), true).unwrap());
    assert_eq!(server.keys("mcp:session:*").len(), 5);
    beat(&server, "n1", "newest", false);
    assert!(operator::prune(&mut connection, of(LOST), true).unwrap());
}

/// A record that changes between the look and the change is looked at again; who may not close it, does not.
#[test]
fn a_close_is_one_transaction() {
    use burdock::registry::operator;
    use burdock::session_id::SessionId;
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let (mut connection, id) = (server.connection(), SessionId::parse(LIVE).unwrap());
    assert!(operator::close_from_afar(&mut connection, &id, |_| false).unwrap().is_none());
    let looks = std::cell::Cell::new(0);
    let closed = operator::close_from_afar(&mut connection, &id, |record| {
        looks.set(looks.get() + 1);
        if looks.get() == 1 {
            let mut other = self::record("now", LIVE);
            other["principal"] = json!("bob");
            write(&server, LIVE, &other);
        }
        record.principal.as_deref() == Some("ann")
    });
    assert!(closed.unwrap().is_none(), "bob's session was closed for ann");
    assert_eq!((looks.get(), server.keys("mcp:closed:*").len(), server.keys("*:inbox").len()), (2, 0, 0));
    let always = operator::close_from_afar(&mut connection, &id, |_| {
        write(&server, LIVE, &record("now", LIVE));
        true
    });
    assert!(always.unwrap_err().to_string().contains("changes all the time"));
    assert_eq!(server.keys(&format!("mcp:session:{LIVE}")).len(), 1);
}

#[test]
fn what_redis_refuses_is_told_with_what_to_do_and_no_password() {
    let Some(server) = redis_server("sessions_command") else { return };
    let mut connection = server.connection();
    for (user, rules) in [
        ("reader", &["on", ">hunter2", "~mcp:*", "+scan", "+mget", "+exists"][..]),
        ("nobody", &["on", ">hunter2", "~mcp:*"]),
    ] {
        redis::cmd("ACL").arg("SETUSER").arg(user).arg(rules).exec(&mut connection).unwrap();
    }
    cluster(&server);
    let port = server.port;
    let url = |who: &str| format!("redis://{who}@127.0.0.1:{port}/");
    let told = |arguments: &[&str], who: &str, part: &str| {
        let text = problem(&burdock(&[arguments, &["--redis", &url(who)]].concat()), 1);
        assert!(text.contains(part) && text.contains(&format!("redis://127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("wrong!"), "{text}");
    };
    told(&[], "reader:wrong!", "refuses the user or the password: correct the URL of --redis (or");
    told(&[], "nobody:hunter2", "its ACL needs ~mcp:*");
    told(&["close", LIVE], "reader:hunter2", "its ACL needs ~mcp:*");
    let table = burdock(&["--redis", &url("reader:hunter2")]);
    assert!(stdout(&table).contains("n1-000000"));
    assert!(String::from_utf8(table.stderr).unwrap().contains("list of processes"));
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "hunter2"]).exec(&mut connection).unwrap();
    let text = problem(&burdock(&["--redis", &server.url()]), 1);
    assert!(text.contains("wants a password"), "{text}");
}

/// The rights that the message names are enough for all three.
#[test]
fn the_rights_in_the_message_are_enough() {
    let Some(server) = redis_server("sessions_command") else { return };
    cluster(&server);
    let mut connection = server.connection();
    let acl = |rules: &[&str], connection: &mut redis::Connection| {
        redis::cmd("ACL").arg("SETUSER").arg("operator").arg(rules).exec(connection).unwrap();
    };
    acl(&["on", ">p"], &mut connection);
    let url = format!("redis://operator:p@127.0.0.1:{}/", server.port);
    let text = problem(&burdock(&["--redis", &url]), 1);
    let (rights, of_nodes) = text.split("its ACL needs ").nth(1).unwrap().split_once("for a node").unwrap();
    let deploy = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/README.md")).unwrap();
    let line = rules(deploy.lines().find(|line| line.starts_with("ACL SETUSER burdock ")).unwrap());
    let missing: Vec<_> =
        rules(rights).into_iter().chain(rules(of_nodes)).filter(|right| !line.contains(right)).collect();
    assert!(missing.is_empty(), "not in deploy/README: {missing:?}");
    acl(&rules(rights), &mut connection);
    for arguments in [&[][..], &["close", LIVE], &["close", DRAINING, "--dry-run"], &["prune", "--yes"]] {
        stdout(&burdock(&[arguments, &["--redis", &url]].concat()));
    }
    acl(&rules(of_nodes), &mut connection);
    a_node_lives_with(&url, &server);
}

/// The rules of an ACL in a sentence.
fn rules(text: &str) -> Vec<&str> {
    let words = text.split_whitespace().filter(|word| word.starts_with(['~', '+']));
    words.map(|word| word.trim_end_matches(',')).collect()
}

/// All that a node does in Redis, with this user.
fn a_node_lives_with(url: &str, server: &RedisServer) {
    let mut node = Burdock::serve(&["--node", "n7", "--redis", url, "--redis-required"]);
    let session = node.session("2025-11-25");
    let records = || server.keys("mcp:session:n7-*").len();
    wait_for("the record", SOON, || (records() == 1).then_some(()));
    redis::cmd("DEL").arg(server.keys("mcp:session:n7-*")).exec(&mut server.connection()).unwrap();
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut server.connection()).unwrap();
    node.session("2025-11-25");
    wait_for("both anew", SOON, || (records() == 2).then_some(()));
    let there = Session { id: ORPHAN.to_owned(), ..session };
    let mut elsewhere = record("now", ORPHAN);
    (elsewhere["server"], elsewhere["principal"]) = (json!("demo"), Value::Null);
    write(server, ORPHAN, &elsewhere);
    assert_eq!(there.delete().status, 204);
    node.signal("-INT");
    assert!(node.wait().success() && records() == 0);
    assert_eq!(server.keys("mcp:node:n7").len(), 0);
    assert!(!node.log().contains("ACL"), "{}", node.log());
}

#[test]
fn a_redis_that_is_not_there_hangs_or_is_none() {
    let nowhere = format!("redis://127.0.0.1:{}/", free_port());
    assert!(problem(&burdock(&["--redis", &nowhere]), 1).contains("refuses connections: does it run there?"));
    let nowhere = problem(&burdock(&["--redis", "unix:///nowhere/redis.sock"]), 1);
    assert!(nowhere.contains("does it run there?"), "{nowhere}");

    let web = answering(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    assert!(problem(&burdock(&["--redis", &web]), 1).contains("does not speak as Redis does"));

    let Some(server) = redis_server("sessions_command") else { return };
    server.signal("-STOP");
    let begun = Instant::now();
    let text = problem(&burdock(&["--redis", &server.url()]), 1);
    server.signal("-CONT");
    assert!(text.contains("does not answer") && begun.elapsed() < SOON, "{text}");
}

#[test]
fn an_old_redis_is_refused() {
    let old = answering(|asked| {
        let info = b"$20\r\nredis_version:6.0.16\r\n".to_vec();
        if asked.contains("server") { info } else { b"+OK\r\n".repeat(asked.matches("SETINFO").count()) }
    });
    let text = problem(&burdock(&["--redis", &old]), 1);
    assert!(text.contains("is 6.0, too old: 6.2 or later is needed"), "{text}");
}

/// The URL of something that answers one connection like this.
fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = socket.read(&mut bytes) {
            let asked = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if socket.write_all(&answer(&asked)).is_err() {
                break;
            }
        }
    });
    url
}

#[test]
fn usage_mistakes() {
    for (arguments, part) in [
        (&[][..], "where is Redis?"),
        (&["--redis", "http://:hunter2@h/"], "must be a URL like"),
        (&["--redis", "rediss://:hunter2@h/"], "needs TLS"),
        (&["clsoe", LIVE], "did you mean close?"),
        (&["close", "n1-000000"], "no whole session id"),
        (&["prune", "--all"], "--all"),
        (&["--redis", "redis://u:p@hunter2/w@h/"], "%2F for /"),
    ] {
        let text = problem(&burdock(arguments), 2);
        assert!(text.contains(part) && text.contains("burdock help sessions"), "{arguments:?}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let help = stdout(&burdock(&["--help"]));
    assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    let asked =
        |words: &[&str]| stdout(&Command::new(env!("CARGO_BIN_EXE_burdock")).args(words).output().unwrap());
    assert!(asked(&["help"]).contains("\n  sessions "));
    assert_eq!(asked(&["help", "--help"]), asked(&["help"]));
    assert_eq!(asked(&["help", "sessions", "close"]), help);
}
