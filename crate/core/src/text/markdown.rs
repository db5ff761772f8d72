//! Markdown to plain text.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{Reason, Tally, html};

/// The text of `markdown`: headings, links and quotes lose their marks, lists keep a dash or number, emphasis of any
/// strength keeps one star on either side. Metadata, fenced code and pictures go; indented "code" may be verse and stays.
pub(super) fn read(markdown: &str, tally: &mut Tally) -> String {
    let options = Options::ENABLE_YAML_STYLE_METADATA_BLOCKS | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, options) {
        writer.take(event, tally);
    }
    writer.text
}

/// Whether pasted text has the marks of Markdown: metadata at its top, or two of headings, links and fences.
pub(super) fn looks_like(text: &str) -> bool {
    if text.starts_with("---\n") && text[4..].contains("\n---\n") {
        return true;
    }
    let heading = |line: &str| line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
    let mark = |line: &&str| heading(line) || line.starts_with("```") || line.contains("](http");
    text.lines().filter(mark).nth(1).is_some()
}

#[derive(Default)]
struct Writer {
    text: String,
    /// The next number of each list around, `None` for dashes.
    lists: Vec<Option<u64>>,
    /// What is being left out, and its text.
    leaving_out: Option<(Option<Reason>, String)>,
    page: String,
}

impl Writer {
    fn take(&mut self, event: Event<'_>, tally: &mut Tally) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag, tally),
            Event::Text(text) | Event::Code(text) => self.push(&text),
            Event::Html(html) => self.page.push_str(&html),
            Event::InlineHtml(tag) if tag.starts_with("<br") => self.push("\n"),
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::Rule => self.push("* * *\n\n"),
            _ => {}
        }
    }

    fn push(&mut self, text: &str) {
        match &mut self.leaving_out {
            Some((_, out)) => out.push_str(text),
            None => self.text.push_str(text),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Emphasis | Tag::Strong => self.push("*"),
            Tag::List(first) => {
                self.new_line();
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::CodeBlock(CodeBlockKind::Fenced(_)) => self.leaving_out = Some((Some(Reason::Code), String::new())),
            Tag::MetadataBlock(_) => self.leaving_out = Some((Some(Reason::FrontMatter), String::new())),
            Tag::Image { .. } if self.leaving_out.is_none() => self.leaving_out = Some((None, String::new())),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.new_line();
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        };
        self.push(&mark);
    }

    fn new_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.push("\n");
        }
    }

    fn end(&mut self, tag: TagEnd, tally: &mut Tally) {
        match tag {
            TagEnd::Emphasis | TagEnd::Strong => self.push("*"),
            TagEnd::Image | TagEnd::MetadataBlock(_) => self.leave_out(tally),
            TagEnd::CodeBlock => {
                self.leave_out(tally);
                self.push("\n\n");
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.push("\n\n");
            }
            TagEnd::HtmlBlock => {
                let page = std::mem::take(&mut self.page);
                self.push(&html::read(&page, tally));
            }
            TagEnd::Item => self.new_line(),
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::BlockQuote(_) => self.push("\n\n"),
            _ => {}
        }
    }

    fn leave_out(&mut self, tally: &mut Tally) {
        if let Some((Some(reason), text)) = self.leaving_out.take() {
            tally.drop(reason, &text);
        }
    }
}
