//! Line by line: what is nobody's voice.

use super::{Kind, Reason, Tally};

/// Lines that are only this are no writing, in any kind of document.
const NAVIGATION: [&str; 34] = [
    "accept all cookies",
    "accept cookies",
    "accept all",
    "reject all",
    "cookie settings",
    "cookie policy",
    "manage cookies",
    "privacy policy",
    "terms of service",
    "terms of use",
    "terms and conditions",
    "all rights reserved",
    "skip to content",
    "skip to main content",
    "skip to navigation",
    "read more",
    "continue reading",
    "leave a comment",
    "leave a reply",
    "share this",
    "share on facebook",
    "share on twitter",
    "share on x",
    "share on linkedin",
    "share via email",
    "share this post",
    "subscribe to our newsletter",
    "sign up for our newsletter",
    "back to top",
    "previous post",
    "next post",
    "toggle navigation",
    "click to share",
    "advertisement",
];

/// Lines that are only this lead elsewhere on a page; in a text they may be anything.
const PAGE_WORDS: [&str; 19] = [
    "home",
    "menu",
    "search",
    "about",
    "contact",
    "blog",
    "share",
    "tweet",
    "pin it",
    "like",
    "reply",
    "log in",
    "login",
    "sign in",
    "sign up",
    "subscribe",
    "previous",
    "next",
    "copy link",
];

/// Lines that begin so and are short say nothing of the author.
const NAVIGATION_STARTS: [&str; 9] = [
    "we use cookies",
    "this site uses cookies",
    "this website uses cookies",
    "our website uses cookies",
    "by continuing to use this",
    "by using this site",
    "by clicking “accept",
    "by clicking \"accept",
    "share this:",
];

const SIGNATURES: [&str; 13] = [
    "sent from my ",
    "sent from mail for windows",
    "sent from outlook",
    "sent from yahoo",
    "sent from proton",
    "sent via ",
    "get outlook for ",
    "sent with ",
    "von meinem ",
    "envoyé de mon ",
    "enviado desde mi ",
    "inviato da ",
    "verzonden vanaf mijn ",
];

/// Longer lines are sentences of someone.
const SHORT: usize = 160;

/// A signature below `-- ` has at most this many lines; more is text after a line of dashes.
const SIGNATURE_LINES: usize = 8;

/// The lines of `text` without boilerplate, trailing blanks and runs of empty lines.
pub(super) fn drop_lines<'a>(text: &'a str, kind: Kind, tally: &mut Tally) -> Vec<&'a str> {
    let mut lines = without_gutenberg(text.split('\n').collect(), tally);
    if kind == Kind::Plain {
        drop_signature(&mut lines, tally);
    }
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    for line in lines {
        if let Some(reason) = boilerplate(line, kind) {
            tally.drop(reason, line);
        } else if !line.trim().is_empty() {
            kept.push(line.trim_end());
        } else if kept.last().is_some_and(|line| !line.is_empty()) {
            kept.push("");
        }
    }
    kept
}

fn boilerplate(line: &str, kind: Kind) -> Option<Reason> {
    let line = line.trim();
    if line.is_empty() || line.len() > 2 * SHORT {
        return None;
    }
    if kind == Kind::Plain && (line.starts_with("> ") || line.starts_with(">>") || line == ">") {
        return Some(Reason::Quoted);
    }
    let folded = line.to_lowercase().replace('’', "'");
    if kind == Kind::Plain && folded.starts_with("on ") && folded.ends_with(" wrote:") {
        return Some(Reason::Quoted);
    }
    let short = line.chars().count() <= SHORT;
    let device = line.chars().count() <= 48 && !folded.trim_end_matches('.').contains(". ");
    if device && SIGNATURES.iter().any(|start| folded.starts_with(start)) && names_device(&folded) {
        return Some(Reason::Signature);
    }
    let bare = folded.trim_matches(|c: char| !c.is_alphanumeric());
    let page = kind == Kind::Html && (PAGE_WORDS.contains(&bare) || minutes(bare));
    let copyright = folded.ends_with("all rights reserved.") || folded.ends_with("all rights reserved");
    let starts = NAVIGATION_STARTS.iter().any(|start| folded.starts_with(start));
    (page || NAVIGATION.contains(&bare) || short && (copyright || starts)).then_some(Reason::Navigation)
}

/// "Sent from my youth" is a sentence; what phones and programs sign with is not.
fn names_device(folded: &str) -> bool {
    const DEVICES: [&str; 16] = [
        "iphone",
        "ipad",
        "android",
        "samsung",
        "galaxy",
        "blackberry",
        "outlook",
        "windows",
        "yahoo",
        "proton",
        "gmail",
        "pixel",
        "huawei",
        "mobile",
        "smartphone",
        "handy",
    ];
    DEVICES.iter().any(|device| folded.contains(device))
}

/// "5 min read"
fn minutes(bare: &str) -> bool {
    bare.strip_suffix(" min read").is_some_and(|count| count.chars().all(|c| c.is_ascii_digit()))
}

/// Drops what stands outside Project Gutenberg's marks of start and end, of one book or several.
fn without_gutenberg<'a>(lines: Vec<&'a str>, tally: &mut Tally) -> Vec<&'a str> {
    let mark = |line: &str| -> Option<bool> {
        let line = line.trim_start();
        if !line.starts_with("***") && !line.starts_with("End of") {
            return None;
        }
        let line = line.to_ascii_uppercase();
        let start = line.contains("START OF TH");
        (line.contains("PROJECT GUTENBERG") && (start || line.contains("END OF"))).then_some(start)
    };
    if !lines.iter().any(|line| mark(line).is_some()) {
        return lines;
    }
    let mut kept = Vec::with_capacity(lines.len());
    // Before the first mark stands a header if that mark is a start.
    let mut inside = lines.iter().find_map(|line| mark(line)) == Some(false);
    for line in lines {
        let mark = mark(line);
        inside = mark.unwrap_or(inside);
        let picture = line.trim().starts_with("[Illustration") && line.trim().ends_with(']');
        if inside && mark.is_none() && !picture {
            kept.push(line);
        } else {
            tally.drop(Reason::Gutenberg, line);
        }
    }
    kept
}

/// Drops a signature below the line `-- ` that mail programs put above it (RFC 3676, §4.3).
fn drop_signature(lines: &mut Vec<&str>, tally: &mut Tally) {
    let end = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let Some(at) = lines[..end].iter().rposition(|line| matches!(*line, "-- " | "--")) else { return };
    if at > 0 && end - at - 1 <= SIGNATURE_LINES {
        lines.drain(at..).for_each(|line| tally.drop(Reason::Signature, line));
    }
}
