//! The resources of the suite.

use burdock::handler::{Contents, Resource, ResourceTemplate, Server};

use crate::PNG;

pub(crate) fn add(server: Server) -> Server {
    server
        .resource(
            Resource::new("test://static-text", "Static text").description("Text.").mime_type("text/plain"),
            |_context| async { Ok("This is the content of the static text resource.") },
        )
        .resource(
            Resource::new("test://static-binary", "Static binary")
                .description("An image.")
                .mime_type("image/png"),
            |_context| async { Ok(Contents::blob(PNG)) },
        )
        .resource(
            Resource::new("test://watched-resource", "Watched")
                .description("To subscribe to.")
                .mime_type("text/plain"),
            |_context| async { Ok("Watched resource content") },
        )
        .resource_template(
            ResourceTemplate::new("test://template/{id}/data", "Template")
                .description("Data by id.")
                .mime_type("application/json"),
            |_context, variables| async move {
                let id = variables.get("id").cloned().unwrap_or_default();
                Ok(serde_json::json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")})
                    .to_string())
            },
        )
}
