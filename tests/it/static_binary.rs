//! The static binary: built by the documented command, free of any loader and library, and it serves.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Burdock, test_child};

/// The documented target, on the machine's own architecture.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// A release build takes minutes: only where everything is to be tried.
fn wanted() -> bool {
    let set = |name| std::env::var(name).is_ok_and(|value| value == "1");
    set("BURDOCK_REQUIRE_TOOLS") || set("BURDOCK_LONG")
}

/// The command of README, with a folder of its own, so that it neither waits for nor spoils other builds.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/static");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--release", "--bin", "burdock", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success());
    folder.join(TARGET).join("release/burdock")
}

/// The types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Vec<u32> {
    assert_eq!(file[..6], *b"\x7fELF\x02\x01", "not a 64-bit little-endian ELF file");
    let number = |at: usize, bytes: usize| {
        file[at..at + bytes].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (offset, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).map(|index| number(offset + index * size, 4) as u32).collect()
}

#[test]
fn the_static_binary_serves_a_session() {
    if !wanted() {
        // Past the test harness, which would swallow it.
        let skip = "SKIP the static binary: set BURDOCK_REQUIRE_TOOLS=1 or BURDOCK_LONG=1 to build it";
        writeln!(std::io::stderr(), "{skip}").unwrap();
        return;
    }
    const PT_LOAD: u32 = 1;
    const PT_INTERP: u32 = 3;
    let binary = build();
    let file = std::fs::read(&binary).unwrap();
    let headers = program_headers(&file);
    assert!(headers.contains(&PT_LOAD));
    assert!(!headers.contains(&PT_INTERP), "{} asks for a loader", binary.display());
    println!("static binary: {} bytes", file.len());

    let burdock = Burdock::serve_binary(&binary, &["--", &test_child()], |_| {});
    let session = burdock.session("2025-11-25");
    assert_eq!(session.call(1, "echo", json!({"text": "hi"}))["result"]["content"][0]["text"], "hi");
    assert_eq!(session.delete().status, 204);
}

#[test]
fn a_dynamic_binary_is_told_from_a_static_one() {
    // The tests themselves are linked dynamically: the check can fail.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(program_headers(&own).contains(&3));
}
