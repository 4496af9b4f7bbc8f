//! What was asked for, checked: the one [`Config`] that everything else is built from.
//!
//! There are two types and one conversion between them: [`Typed`] is what flags and environment said, as
//! text; [`Config`] has defaults filled in, files read and every relation checked ([`Config::check`]).

mod access;
pub mod address;
pub mod args;
mod check;
pub mod duration;
mod error;
pub mod expand;
pub mod file;
pub mod flags;
pub mod json;
mod logs;
mod machine;
pub mod nearest;
mod program;
pub mod redis;
mod server_name;
mod servers;
mod settings;
mod values;

pub use self::address::{AdminListen, IpNet};
pub use self::args::{Environment, Typed};
pub use self::error::Error;
pub use self::flags::Flag;
pub use self::redis::RedisTarget;
pub use self::server_name::is_server_name;
pub use self::settings::{
    Access, Config, Launch, LogFormat, LogSettings, Names, ServerConfig, SessionLimits,
};
