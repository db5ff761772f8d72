//! The readable text of a web page.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::{Reason, Tally};

/// Elements whose content is not the author's text.
const SKIPPED: [&str; 26] = [
    "script", "style", "title", "nav", "header", "footer", "aside", "form", "noscript", "template", "svg", "iframe",
    "object", "audio", "video", "canvas", "button", "select", "textarea", "label", "dialog", "menu", "rt", "rp",
    "datalist", "math",
];

/// Elements that begin and end a paragraph.
const BLOCKS: [&str; 35] = [
    "html",
    "body",
    "main",
    "article",
    "section",
    "div",
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "blockquote",
    "pre",
    "hr",
    "table",
    "thead",
    "tbody",
    "tr",
    "caption",
    "figure",
    "figcaption",
    "address",
    "details",
    "summary",
    "fieldset",
    "center",
    "hgroup",
];

/// A block of links with fewer words than this is a way to another page; with more it may be a sentence.
const LINK_WORDS: usize = 12;

/// The text of the page `html`, its blocks with an empty line between them.
///
/// An element that is skipped but never closed would swallow the rest of the page; then the page is read again without
/// skipping it.
pub(super) fn read(html: &str, tally: &mut Tally) -> String {
    let mut skipped: Vec<&'static str> = SKIPPED.to_vec();
    loop {
        let mut page = Page::new(&skipped);
        let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<()> {
            page.take(event);
            None
        });
        // What stands in a script is no markup.
        emitter.naively_switch_states(true);
        Tokenizer::new_with_emitter(html, emitter).for_each(|_| {});
        page.close();
        match page.skipping {
            Some((name, _)) => skipped.retain(|skipped| *skipped != name),
            None => {
                tally.add(Reason::PageFurniture, page.dropped, page.dropped_characters);
                return page.text;
            }
        }
    }
}

struct Page<'a> {
    skipped: &'a [&'static str],
    text: String,
    block: String,
    /// Characters of the block that stand in links.
    linked: usize,
    links: usize,
    preformatted: usize,
    /// The element being skipped, and how deep in elements of its name.
    skipping: Option<(&'static str, usize)>,
    dropped: usize,
    dropped_characters: usize,
}

impl<'a> Page<'a> {
    fn new(skipped: &'a [&'static str]) -> Self {
        Self {
            skipped,
            text: String::new(),
            block: String::new(),
            linked: 0,
            links: 0,
            preformatted: 0,
            skipping: None,
            dropped: 0,
            dropped_characters: 0,
        }
    }

    fn take(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => self.open(&String::from_utf8_lossy(name)),
            CallbackEvent::EndTag { name } => self.end(&String::from_utf8_lossy(name)),
            CallbackEvent::String { value } => self.string(&String::from_utf8_lossy(value)),
            _ => {}
        }
    }

    fn open(&mut self, name: &str) {
        if let Some((skipping, depth)) = &mut self.skipping {
            *depth += usize::from(*skipping == name);
            return;
        }
        if let Some(skipped) = self.skipped.iter().find(|skipped| **skipped == name) {
            self.skipping = Some((skipped, 1));
            self.dropped += 1;
            return;
        }
        match name {
            "br" => self.block.push('\n'),
            "td" | "th" => self.space(),
            "a" => self.links += 1,
            _ if BLOCKS.contains(&name) => self.close(),
            _ => {}
        }
        self.preformatted += usize::from(name == "pre");
    }

    fn end(&mut self, name: &str) {
        if let Some((skipping, depth)) = &mut self.skipping {
            *depth -= usize::from(*skipping == name);
            if *depth == 0 {
                self.skipping = None;
            }
            return;
        }
        match name {
            "a" => self.links = self.links.saturating_sub(1),
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.close();
        }
    }

    fn string(&mut self, string: &str) {
        let visible = || string.chars().filter(|c| !c.is_whitespace()).count();
        if self.skipping.is_some() {
            self.dropped_characters += visible();
            return;
        }
        if self.links > 0 {
            self.linked += visible();
        }
        if self.preformatted > 0 {
            self.block.push_str(string);
            return;
        }
        for c in string.chars() {
            match c {
                ' ' | '\t' | '\n' | '\r' | '\u{c}' => self.space(),
                _ => self.block.push(c),
            }
        }
    }

    fn space(&mut self) {
        if !self.block.is_empty() && !self.block.ends_with([' ', '\n']) {
            self.block.push(' ');
        }
    }

    fn close(&mut self) {
        let block = self.block.trim_end().trim_start_matches('\n');
        let visible = block.chars().filter(|c| !c.is_whitespace()).count();
        let links_only = self.linked * 10 > visible * 9 && block.split_whitespace().count() < LINK_WORDS;
        if visible > 0 && links_only {
            self.dropped += 1;
            self.dropped_characters += visible;
        } else if visible > 0 {
            self.text.push_str(block);
            self.text.push_str("\n\n");
        }
        self.block.clear();
        self.linked = 0;
    }
}
