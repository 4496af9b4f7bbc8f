//! What a server offers, as plain data: its sessions and contexts need to know no more of the server.

use std::time::Duration;

use serde_json::{Value, json};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) tools: bool,
    /// Resources, or templates of them.
    pub(super) resources: bool,
    pub(super) prompts: bool,
    pub(super) completion: bool,
    pub(super) subscriptions: bool,
    pub(super) logging: bool,
    /// How long a client may take to answer a handler's request.
    pub(super) ask_deadline: Duration,
}

impl Offer {
    /// The `capabilities` that `initialize` declares: what was registered, no more (L41: only what was
    /// negotiated is used).
    pub(super) fn capabilities(&self) -> Value {
        let mut capabilities = json!({});
        if self.tools {
            capabilities["tools"] = json!({"listChanged": true});
        }
        if self.resources {
            capabilities["resources"] = json!({"listChanged": true, "subscribe": self.subscriptions});
        }
        if self.prompts {
            capabilities["prompts"] = json!({"listChanged": true});
        }
        if self.completion {
            capabilities["completions"] = json!({});
        }
        if self.logging {
            capabilities["logging"] = json!({});
        }
        capabilities
    }
}
