//! Reads the version of rmcp from the lock file, so that the table names what was really built.

fn main() {
    let lock = std::fs::read_to_string("../Cargo.lock").unwrap_or_default();
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"rmcp\"\n"))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rerun-if-changed=../Cargo.lock");
    println!("cargo::rustc-env=RMCP_VERSION={version}");
}
