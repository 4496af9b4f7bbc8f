//! rmcp's echo server with the system's allocator.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rmcp_echo::run()
}
