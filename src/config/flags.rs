//! The flags of `burdock serve`, in one table: what each is called, what it takes, its help, and the section
//! it is in.

/// How many values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None: it is there or not.
    Nothing,
    /// One, and it may be given once.
    One,
    /// One or more with commas between, and it may be repeated.
    Many,
}

/// What there is to say about a flag.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name without dashes.
    pub name: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// How many values it takes.
    pub takes: Takes,
    /// Its help; a line feed begins a new line.
    pub help: &'static str,
}

/// Makes [`Flag`] of rows `VARIANT: NAME VALUE, TAKES, HELP;` in sections of the help.
macro_rules! flags {
    ($($section:literal { $($flag:ident: $name:literal $value:literal, $takes:ident, $help:literal;)* })*) => {
        /// A flag of `burdock serve`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is named after its flag; `describe` says what it does")]
        pub enum Flag {
            $($($flag,)*)*
        }

        impl Flag {
            /// All flags, in the order of the help.
            pub const ALL: [Flag; [$($(Flag::$flag,)*)*].len()] = [$($(Flag::$flag,)*)*];

            /// The sections of the help: a heading and the flags below it.
            pub const SECTIONS: &[(&str, &[Flag])] = &[$(($section, &[$(Flag::$flag,)*]),)*];

            /// Its name, what it takes and its help.
            pub const fn describe(self) -> Description {
                match self {
                    $($(Flag::$flag => {
                        Description { name: $name, value: $value, takes: Takes::$takes, help: $help }
                    })*)*
                }
            }
        }
    };
}

flags! {
    "What is served:" {
        Config: "config" "FILE", One, "servers, as in the mcp.json that MCP hosts read";
        Default: "default" "NAME", One, "the server that is at /mcp too (the only one)";
    }
    "Where:" {
        Listen: "listen" "ADDR:PORT", One, "where clients connect (127.0.0.1:8080)";
        PublicUrl: "public-url" "URL", One, "how clients reach burdock, without /mcp";
        Admin: "admin" "ADDR:PORT", One, "metrics, on a listener of their own; also unix:/PATH (none)";
        Node: "node" "NAME", One, "this process's name in session ids (local)";
    }
    "Who may call:" {
        TokenFile: "token-file" "FILE", One, "who may call; burdock token NAME makes a token";
        AllowHost: "allow-host" "NAME", Many, "a name clients may call burdock by";
        AllowOrigin: "allow-origin" "ORIGIN", Many, "a web page's origin: https://app.example.com";
        TrustedProxy: "trusted-proxy" "NET", Many, "whose forwarded headers count: 10.0.0.0/8";
        InsecurePublic: "insecure-public" "", Nothing, "allow an address or public URL that others can reach,\nwithout tokens";
    }
    "How much and how long:" {
        MaxSessions: "max-sessions" "COUNT", One, "sessions at once (by the machine's memory)";
        IdleTimeout: "idle-timeout" "TIME", One, "close a session nobody uses for so long (30m)";
        KeepAliveComment: "keep-alive-comment" "TIME", One, "pause between comments on a silent stream (15s)";
        DrainTimeout: "drain-timeout" "TIME", One, "at SIGTERM, wait so long for calls (10s)";
        RetireWindow: "retire-window" "TIME", One, "after that, end the sessions of a cluster's node\nspread over so long (30s)";
        Redis: "redis" "URL", One, "share with other nodes which sessions exist:\nredis://HOST/ or unix:///PATH";
        RedisFile: "redis-file" "FILE", One, "a file with that URL and nothing else: a password\nis no argument";
        RedisRequired: "redis-required" "", Nothing, "do not start while Redis is out of reach";
        Advertise: "advertise" "URL", One, "how other nodes reach this one, for burdock sessions";
        Threads: "threads" "COUNT", One, "threads that serve (as many as there are cores)";
    }
    "What is told:" {
        Log: "log" "FILTER", One, "error, warn, info, debug, trace or off, also\nby module: warn,burdock::http=debug (info)";
        LogFormat: "log-format" "FORM", One, "text or json (text)";
    }
}

impl Flag {
    /// Its variable: `BURDOCK_` and the name in capitals.
    pub fn variable(self) -> String {
        format!("{VARIABLES}{}", self.describe().name.replace('-', "_").to_ascii_uppercase())
    }

    /// The flag that is called `name`, without dashes.
    pub fn by_name(name: &str) -> Option<Flag> {
        Flag::ALL.into_iter().find(|flag| flag.describe().name == name)
    }
}

/// What the names of burdock's variables begin with.
pub const VARIABLES: &str = "BURDOCK_";
