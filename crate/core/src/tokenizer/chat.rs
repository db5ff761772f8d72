//! Chat templates: the layout of a conversation, in Jinja, as the model's makers wrote it.

use std::collections::BTreeMap;
use std::{error, fmt};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, State, Value};
use minijinja_contrib::pycompat;

use crate::error::{Error, ErrorKind, Result};

const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// The first of the private characters (plane 15) that stand for contents while the template runs.
///
/// They need not be absent from the contents, which the template never sees; a template that prints one itself only
/// repeats a message.
const FIRST_STAND_IN: u32 = 0xF_0000;
const MOST_MESSAGES: usize = 0xFFFE;

/// What a template may spend: about one unit an instruction or 64 bytes made.
const FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 500;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What they say.
    pub content: String,
}

impl Message {
    /// What `role` says.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The special tokens' names that a template may print.
pub(super) struct SpecialNames {
    pub(super) bos_token: Option<String>,
    pub(super) eos_token: Option<String>,
}

/// A stretch of the laid-out conversation.
pub(super) enum Part<'a> {
    /// What the template wrote.
    Template(&'a str),
    /// A message's content, without its outer white space (which the template keeps or drops).
    Content(&'a str),
}

/// Lays out `messages` with stand-ins for their contents; [`parts`] puts the contents in.
pub(super) fn render(
    template: &str,
    messages: &[Message],
    add_generation_prompt: bool,
    names: &SpecialNames,
) -> Result<String> {
    if messages.len() > MOST_MESSAGES {
        let message = format!("conversation has {} messages, at most {MOST_MESSAGES} are possible", messages.len());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    if let Some(message) = messages.iter().find(|message| !ROLES.contains(&message.role.as_str())) {
        let message = format!("message has role {:?}, it must be one of {}", message.role, ROLES.join(", "));
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let shown: Vec<_> = messages
        .iter()
        .zip(FIRST_STAND_IN..)
        .map(|(message, code)| {
            Value::from_pairs([("role", message.role.clone()), ("content", stand_in(message, code))])
        })
        .collect();
    let mut context = BTreeMap::from([
        ("messages", Value::from(shown)),
        ("add_generation_prompt", Value::from(add_generation_prompt)),
        // Templates ask `tools is not none`, which an undefined value would answer wrongly.
        ("tools", Value::from(())),
        ("documents", Value::from(())),
    ]);
    let names = [("bos_token", &names.bos_token), ("eos_token", &names.eos_token)];
    context.extend(names.into_iter().filter_map(|(key, name)| Some((key, Value::from(name.as_ref()?.as_str())))));
    environment(messages.len())
        .and_then(|environment| environment.render_str(template, Value::from(context)))
        .map_err(refused)
}

/// Jinja as the reference implementation sets it up for chats.
fn environment(messages: usize) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL + FUEL_PER_MESSAGE * messages as u64));
    environment.set_unknown_method_callback(python_method);
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::from(minijinja::ErrorKind::InvalidOperation).with_source(Raised(message)))
    });
    Ok(environment)
}

/// Python's string and map methods, paid for by what they read: the library charges for what they return.
///
/// `format` is left out: it pads to any width before anyone counts, and chat templates do not use it.
fn python_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, minijinja::Error> {
    if method == "format" {
        return Err(minijinja::ErrorKind::UnknownMethod.into());
    }
    let length = |value: &Value| value.as_str().map_or(1, str::len);
    let read = length(value).saturating_mul(args.iter().map(length).sum::<usize>() + 1);
    state.consume_fuel(1 + read as u64 / 64)?;
    pycompat::unknown_method_callback(state, value, method, args)
}

/// A template's own refusal of a conversation, by `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Raised {}

fn refused(source: minijinja::Error) -> Error {
    let mut cause: Option<&(dyn error::Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            let message = format!("the model's chat template refuses this conversation: {message}");
            return Error::new(ErrorKind::InvalidOption, message);
        }
        if error.downcast_ref().is_some_and(|e: &minijinja::Error| e.kind() == minijinja::ErrorKind::OutOfFuel) {
            let message = "the model's chat template does not come to an end: use a plain prompt or another model file";
            return Error::new(ErrorKind::ModelCorrupt, message).with_source(source);
        }
        cause = error.source();
    }
    let message =
        format!("the model's chat template cannot be followed ({source}): use a plain prompt instead of a chat");
    Error::new(ErrorKind::ModelUnsupported, message).with_source(source)
}

/// The content as the template sees it: its outer white space, which templates trim, around one private character.
fn stand_in(message: &Message, code: u32) -> String {
    let content = message.content.as_str();
    let rest = content.trim_start();
    let Some(code) = char::from_u32(code).filter(|_| !rest.is_empty()) else { return content.to_owned() };
    let before = &content[..content.len() - rest.len()];
    let after = &rest[rest.trim_end().len()..];
    format!("{before}{code}{after}")
}

/// Cuts the laid-out conversation at the stand-ins.
///
/// # Errors
/// `model-unsupported` if a message is left out: it would be answered without having been read.
pub(super) fn parts<'a>(rendered: &'a str, messages: &'a [Message]) -> Result<Vec<Part<'a>>> {
    let mut seen: Vec<bool> = messages.iter().map(|message| message.content.trim().is_empty()).collect();
    let mut parts = Vec::new();
    let mut rest = 0;
    for (at, c) in rendered.char_indices() {
        let Some(index) = (c as u32).checked_sub(FIRST_STAND_IN).map(|index| index as usize) else { continue };
        let Some(message) = messages.get(index) else { continue };
        parts.push(Part::Template(&rendered[rest..at]));
        parts.push(Part::Content(message.content.trim()));
        seen[index] = true;
        rest = at + c.len_utf8();
    }
    parts.push(Part::Template(&rendered[rest..]));
    if let Some(index) = seen.iter().position(|seen| !seen) {
        let message = format!(
            "the model's chat template leaves out message {} ({}): leave it away or use a plain prompt",
            index + 1,
            messages[index].role
        );
        return Err(Error::new(ErrorKind::ModelUnsupported, message));
    }
    Ok(parts)
}
