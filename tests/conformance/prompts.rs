//! The prompts of the suite.

use burdock::handler::{Content, Prompt, PromptMessage, Server, Variables};

use crate::PNG;

pub(crate) fn add(server: Server) -> Server {
    server
        .prompt(Prompt::new("test_simple_prompt", "A simple prompt."), |_context, _| async {
            Ok("This is a simple prompt for testing.")
        })
        .prompt(
            Prompt::new("test_prompt_with_arguments", "A prompt with arguments.")
                .argument("arg1", "First test argument")
                .argument("arg2", "Second test argument"),
            |_context, arguments| async move {
                let argument = |name| value(&arguments, name);
                Ok(format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1"), argument("arg2")))
            },
        )
        .prompt(
            Prompt::new("test_prompt_with_embedded_resource", "A prompt with a resource.")
                .argument("resourceUri", "URI of the resource to embed"),
            |_context, arguments| async move {
                let resource = burdock::handler::Contents::text("Embedded resource content for testing.")
                    .mime_type("text/plain");
                Ok(vec![
                    PromptMessage::user(Content::resource(&value(&arguments, "resourceUri"), resource)),
                    PromptMessage::user(Content::text("Please process the embedded resource above.")),
                ])
            },
        )
        .prompt(Prompt::new("test_prompt_with_image", "A prompt with an image."), |_context, _| async {
            Ok(vec![
                PromptMessage::user(Content::image(PNG, "image/png")),
                PromptMessage::user(Content::text("Please analyze the image above.")),
            ])
        })
}

fn value(arguments: &Variables, name: &str) -> String {
    arguments.get(name).cloned().unwrap_or_default()
}
