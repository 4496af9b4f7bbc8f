//! What a server offers, as plain data: all that its sessions and contexts need to know of it.

use std::time::Duration;

use serde_json::{Value, json};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) tools: bool,
    /// Resources or templates of some.
    pub(super) resources: bool,
    pub(super) prompts: bool,
    pub(super) completion: bool,
    pub(super) subscriptions: bool,
    pub(super) logging: bool,
    /// How long a client may take to answer a handler's request.
    pub(super) ask_deadline: Duration,
}

impl Offer {
    /// What it can do, as `initialize` tells it: what was registered, no more (L41).
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
